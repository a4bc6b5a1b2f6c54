import type { MemoryState, ParkedEntry } from "./state.ts";
import type {
  ParkedFilter,
  ParkedRecord,
  Quarantine,
  QuarantinedStream,
} from "../../src/store/event-store.ts";

const LISTED_DEFAULT = 1_000;

export class MemoryQuarantine implements Quarantine {
  readonly #state: MemoryState;

  constructor(state: MemoryState) {
    this.#state = state;
  }

  list(filter: ParkedFilter = {}): Promise<readonly ParkedRecord[]> {
    const { pipeline, stream, limit = LISTED_DEFAULT, after = "0" } = filter;
    return Promise.resolve(
      this.#pending(pipeline, stream)
        .filter(({ record }) => Number(record.id) > Number(after))
        .slice(0, limit)
        .map((entry) => structuredClone(entry.record)),
    );
  }

  streams(pipeline: string): Promise<readonly QuarantinedStream[]> {
    const streams = new Map<string, QuarantinedStream>();
    for (const { record } of this.#pending(pipeline)) {
      const { stream, decision } = record;
      const known = streams.get(stream) ?? { stream, parked: 0, decision };
      streams.set(stream, { ...known, parked: known.parked + 1 });
    }
    return Promise.resolve([...streams.values()]);
  }

  decide(
    pipeline: string,
    stream: string | undefined,
    decision: "retry" | "skip",
  ): Promise<number> {
    const entries = this.#pending(pipeline, stream);
    for (const entry of entries) entry.record = { ...entry.record, decision };
    const of = this.#state.pipelines.get(pipeline);
    if (of !== undefined && entries.length > 0) of.quarantineGeneration += 1;
    return Promise.resolve(new Set(entries.map(({ record }) => record.stream)).size);
  }

  async count(pipeline: string): Promise<number> {
    return (await this.streams(pipeline)).length;
  }

  #pending(pipeline: string | undefined, stream?: string): ParkedEntry[] {
    return this.#state.parked.filter(
      (entry) =>
        entry.state === "pending" &&
        (pipeline === undefined || entry.pipeline === pipeline) &&
        (stream === undefined || entry.record.stream === stream),
    );
  }
}

export function settleParked(
  state: MemoryState,
  ids: readonly string[],
  settled: "retried" | "skipped",
): void {
  const concerned = new Set(ids);
  for (const entry of state.parked) if (concerned.has(entry.record.id)) entry.state = settled;
}
