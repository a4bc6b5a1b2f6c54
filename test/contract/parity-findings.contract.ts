import { setTimeout as sleep } from "node:timers/promises";
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

  const saveReport = ({ parity }: EventStore, pipeline: string, report: unknown): Promise<void> =>
    parity.update(pipeline, ({ findings }) => ({ findings, report }));
  const saveFindings = (
    { parity }: EventStore,
    pipeline: string,
    findings: readonly ParityFinding[],
  ): Promise<void> => parity.update(pipeline, () => ({ findings }));

  test("the latest report of each pipeline is kept, and none is invented", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    expect(await parity.report("shop")).toBeUndefined();
    const startedMs = Date.now();
    await saveReport(opened.store, "shop", {
      state: "different",
      samples: [{ key: "🌳 'x'", n: null }],
    });
    await saveReport(opened.store, "other", { state: "equal" });
    const saved = await parity.report("shop");
    expect(saved!.report).toEqual({ state: "different", samples: [{ key: "🌳 'x'", n: null }] });
    expect(Math.abs(Date.parse(saved!.savedAt) - startedMs)).toBeLessThan(120_000);
    await saveReport(opened.store, "shop", { state: "equal", samples: [] });
    const next = await parity.report("shop");
    expect(next!.report).toEqual({ state: "equal", samples: [] });
    expect(next!.savedAt >= saved!.savedAt).toBe(true);
  });

  test("findings replace those of before, of their own pipeline alone", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    expect(await parity.findings("shop")).toEqual([]);
    const first = [finding("1"), finding("2", { columns: [] }), finding("ключ,\\\n")];
    await saveFindings(opened.store, "shop", first);
    await saveFindings(opened.store, "other", [finding("1", { rechecks: 9 })]);
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
    await saveFindings(opened.store, "shop", second);
    expect(await kept(opened.store, "shop")).toEqual(second);
    await saveFindings(opened.store, "shop", []);
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
    await saveFindings(opened.store, "shop", all);
    await saveFindings(opened.store, "shop", all.slice(1));
    const found = await parity.findings("shop");
    expect(new Set(found)).toEqual(new Set(all.slice(1)));
    expect(found).toHaveLength(2);
  });

  test("what is changed at once is changed one after the other, and nothing of it is lost", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    const add = (key: string): Promise<void> =>
      parity.update("shop", ({ findings, report }) => {
        const count = ((report?.report as { count: number } | undefined)?.count ?? 0) + 1;
        return { findings: [...findings, finding(key)], report: { count } };
      });
    const keys = Array.from({ length: 12 }, (_, n) => String(n));
    await Promise.all([...keys.map(add), saveReport(opened.store, "other", { count: 99 })]);
    const found = (await parity.findings("shop")).map(({ key }) => key);
    expect(found.toSorted()).toEqual(keys.toSorted());
    expect((await parity.report("shop"))!.report).toEqual({ count: keys.length });
  });

  test("a report that is amended stays as old as it is, and one that is left alone stays as it is", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    await saveReport(opened.store, "shop", { state: "equal" });
    const { savedAt } = (await parity.report("shop"))!;
    await sleep(20);
    await parity.update("shop", (kept) => {
      expect(kept).toMatchObject({ report: { report: { state: "equal" }, savedAt }, findings: [] });
      expect(kept.now > savedAt).toBe(true);
      return { findings: [finding("1")], report: { state: "different" }, isAmended: true };
    });
    expect(await parity.report("shop")).toEqual({ report: { state: "different" }, savedAt });
    await saveFindings(opened.store, "shop", []);
    expect(await parity.report("shop")).toEqual({ report: { state: "different" }, savedAt });
    await saveReport(opened.store, "shop", { state: "different" });
    expect((await parity.report("shop"))!.savedAt > savedAt).toBe(true);
  });

  test("a change that fails leaves everything as it was, and the next one is made", async () => {
    await using opened = await open();
    const { parity } = opened.store;
    await saveFindings(opened.store, "shop", [finding("1")]);
    const failing = async (): Promise<void> =>
      await parity.update("shop", () => {
        throw new Error("no");
      });
    await expect(failing()).rejects.toThrow("no");
    expect(await kept(opened.store, "shop")).toEqual([finding("1")]);
    await saveFindings(opened.store, "shop", [finding("2")]);
    expect(await kept(opened.store, "shop")).toEqual([finding("2")]);
  });
}
