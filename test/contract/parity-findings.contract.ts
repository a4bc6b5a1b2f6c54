import { expect, test } from "vitest";
import type { OpenedStore } from "./event-batches.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityFinding } from "../../src/store/parity-store.ts";

/** What every store must show of reports and findings. */
export function findingsContract(open: () => Promise<OpenedStore>): void {
  const finding = (key: string, more: Partial<ParityFinding> = {}): ParityFinding => ({
    stream: `order-${key}`,
    table: "public.orders",
    key,
    verdict: "different",
    columns: ["total", 'a "quoted" näme,'],
    version: 3,
    firstSeen: "2026-01-01T00:00:00.123Z",
    lastSeen: "2026-01-02T00:00:00.000Z",
    rechecks: 1,
    ...more,
  });
  const kept = async (store: EventStore, pipeline: string): Promise<readonly ParityFinding[]> =>
    (await store.parity.findings(pipeline)).toSorted((a, b) => (a.key < b.key ? -1 : 1));

  test("the latest report of each pipeline is kept, and none is invented", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    expect(await parity.report("shop")).toBeUndefined();
    const startedMs = Date.now();
    await parity.saveReport("shop", { state: "different", samples: [{ key: "🌳 'x'", n: null }] });
    await parity.saveReport("other", { state: "equal" });
    const saved = await parity.report("shop");
    expect(saved!.report).toEqual({ state: "different", samples: [{ key: "🌳 'x'", n: null }] });
    expect(Math.abs(Date.parse(saved!.savedAt) - startedMs)).toBeLessThan(120_000);
    await parity.saveReport("shop", { state: "equal", samples: [] });
    const next = await parity.report("shop");
    expect(next!.report).toEqual({ state: "equal", samples: [] });
    expect(next!.savedAt >= saved!.savedAt).toBe(true);
  });

  test("findings replace those of before, of their own pipeline alone", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    expect(await parity.findings("shop")).toEqual([]);
    const first = [finding("1"), finding("2", { columns: [] }), finding("ключ,\\\n")];
    await parity.saveFindings("shop", first);
    await parity.saveFindings("other", [finding("1", { rechecks: 9 })]);
    expect(await kept(opened.store, "shop")).toEqual(first);
    const second = [
      finding("2", {
        verdict: "missing",
        columns: [],
        version: 4,
        rechecks: 2,
        firstSeen: "2026-01-03T00:00:00.000Z",
        lastSeen: "2026-01-03T00:00:00.000Z",
      }),
      finding("3", { verdict: "extra" }),
    ];
    await parity.saveFindings("shop", second);
    expect(await kept(opened.store, "shop")).toEqual(second);
    await parity.saveFindings("shop", []);
    expect(await kept(opened.store, "shop")).toEqual([]);
    expect(await kept(opened.store, "other")).toEqual([finding("1", { rechecks: 9 })]);
  });

  test("one key may be found in two tables, and in two streams", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    const all = [
      finding("1"),
      finding("1", { table: "public.lines" }),
      finding("1", { stream: "order-2" }),
    ];
    await parity.saveFindings("shop", all);
    await parity.saveFindings("shop", all.slice(1));
    const found = await parity.findings("shop");
    expect(new Set(found)).toEqual(new Set(all.slice(1)));
    expect(found).toHaveLength(2);
  });
}
