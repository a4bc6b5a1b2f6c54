import { BanyanError } from "../../src/model/errors.ts";
import type { TrafficLog } from "../../src/rollout/traffic-log.ts";
import type { TrafficRow } from "../../src/rollout/traffic.ts";

/** Traffic that a test looks at. */
export class MemoryTrafficLog implements TrafficLog {
  readonly #rows = new Map<string, { readonly instance: string; readonly row: TrafficRow }>();
  /** As a store that is down. */
  unreachable = false;

  rowsOf(instance: string): readonly TrafficRow[] {
    return [...this.#rows.values()]
      .filter((one) => one.instance === instance)
      .map(({ row }) => row);
  }

  write(instance: string, rows: readonly TrafficRow[]): Promise<void> {
    if (this.unreachable) {
      return Promise.reject(new BanyanError("STORE_UNREACHABLE", "the store is down"));
    }
    for (const row of rows) {
      const key = JSON.stringify([instance, row.second, row.type, row.route, row.side]);
      if (!this.#rows.has(key)) this.#rows.set(key, { instance, row: structuredClone(row) });
    }
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
