import { describe, expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { child, deleted, inserted, stream, table } from "../../src/mapping/rules.ts";
import type { Change, Intent } from "../../src/model/change.ts";
import type { RecordedEvent } from "../../src/model/event.ts";
import type { Position } from "../../src/model/position.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";
import { startPipeline } from "../support/live-pipeline.ts";
import { eventually, partOf, ScriptedLog } from "../support/scripted-log.ts";

const orders = table<{ id: string; note: string | null }>("orders");
const lines = table<{ id: string; order_id: string; sku: string }>("lines");
const streams = {
  order: stream(orders, {
    children: { lines: child(lines, { order_id: "id" }) },
    events: {
      OrderPlaced: inserted(orders, {
        with: [lines],
        where: ({ note }) => {
          if (note === "bad") throw new Error("cannot say");
          return true;
        },
      }),
      OrderRemoved: deleted(orders),
      LineAdded: inserted(lines),
    },
    otherwise: "OrderAmended",
  }),
};
const IDENTITIES = ["full", "default"] as const;

const shapesOf = (identity: (typeof IDENTITIES)[number]) =>
  [
    shape("public.orders", "*id:int8 note", identity),
    shape("public.lines", "*id:int8 order_id:int8 sku", identity),
  ] as const;

const SPILLED: Partial<TailLimits> = { transactionChangesMax: 1 };

/** One transaction with moves, failures, rows behind them, absorbed rows and unusual text. */
function history([order, line]: ReturnType<typeof shapesOf>): Change[] {
  const steps: Parameters<typeof change>[] = [];
  const add = (kind: Change["kind"], of: typeof order, before?: string[], after?: string[]): void =>
    void steps.push([kind as "insert", of, steps.length + 1, before, after]);
  for (let i = 1; i <= 40; i++) {
    const id = String(i);
    add("insert", order, undefined, [id, i % 7 === 0 ? "bad" : "line\nbreak \u2028 😀"]);
    add("insert", line, undefined, [`${i}1`, id, "with"]);
    add("insert", line, undefined, [`${i}2`, String(i + 1), "before its root"]);
  }
  for (let i = 1; i <= 40; i += 3)
    add("update", order, [String(i), "line\nbreak \u2028 😀"], [String(i + 100), "x"]);
  for (let i = 1; i <= 40; i += 4)
    add("update", line, [`${i}1`, String(i), "with"], [`${i}1`, String(i + 9), "moved"]);
  for (let i = 2; i <= 40; i += 5) add("delete", line, [`${i}2`, String(i + 1), "before its root"]);
  return steps.map((step) => change(...step));
}

interface Outcome {
  readonly events: RecordedEvent[];
  readonly parked: unknown[];
  readonly ledger: unknown;
}

async function capture(
  identity: (typeof IDENTITIES)[number],
  cut: number,
  limits: Partial<TailLimits>,
): Promise<Outcome> {
  const shapes = shapesOf(identity);
  const log = new ScriptedLog(shapes);
  const store = new MemoryEventStore();
  await using pipeline = await startPipeline({
    name: "large",
    openSource: () => log,
    store,
    streams,
    limits,
  });
  const changes = history(shapes);
  const intent: Intent = { actor: "anna", metadata: { reason: "bulk" } };
  for (let at = 0; at < changes.length; at += cut) {
    const last = at + cut >= changes.length;
    log.emit(partOf(1, changes.slice(at, at + cut), last ? { last, intent } : { last }));
  }
  await eventually(() => log.acknowledged.includes(transaction(1).end));
  await pipeline.stop();
  const events = (await store.readAll(undefined, 10_000)).events.map((event) => ({
    ...event,
    recordedTime: "",
  }));
  const parked = (await store.quarantine.list()).map(({ parkedAt: _at, id: _id, ...rest }) => rest);
  const { ledger } = (await store.pipeline("large"))!;
  return { events, parked, ledger };
}

describe.each(IDENTITIES)("replica identity %s: a transaction beyond the bound", (identity) => {
  test("gives the same events, in the same order, with the same ids, as one within it", async () => {
    const inMemory = await capture(identity, 1_000, {});
    expect(inMemory.events.length).toBeGreaterThan(100);
    expect(inMemory.parked.length).toBeGreaterThan(5);
    for (const cut of [1, 7, 1_000]) {
      const spilled = await capture(identity, cut, SPILLED);
      expect(spilled.events).toEqual(inMemory.events);
      expect(spilled.ledger).toEqual(inMemory.ledger);
      // Of each stream in order; streams beside each other have none.
      const byStream = (a: unknown, b: unknown): number =>
        JSON.stringify(a) < JSON.stringify(b) ? -1 : 1;
      expect(spilled.parked.toSorted(byStream)).toEqual(inMemory.parked.toSorted(byStream));
    }
  });

  test("that is cut short by a stop leaves nothing, and is told whole the next time", async () => {
    const shapes = shapesOf(identity);
    const store = new MemoryEventStore();
    const before = ["1", "as it was"];
    const whole = [
      change("update", shapes[0], 1, identity === "full" ? before : undefined, ["1", "changed"]),
      change("insert", shapes[0], 2, undefined, ["2", "new"]),
      change("insert", shapes[0], 3, undefined, ["3", "new"]),
    ];
    const run = async (parts: number): Promise<Position[]> => {
      const log = new ScriptedLog(shapes, { "public.orders": [before] });
      await using pipeline = await startPipeline({
        name: "large",
        openSource: () => log,
        store,
        streams,
        limits: SPILLED,
      });
      await pipeline.until(() => pipeline.status()?.phase === "tail");
      for (let i = 0; i < parts; i++) log.emit(partOf(1, [whole[i]!], { last: i === 2 }));
      if (parts === 3) await eventually(() => log.acknowledged.includes(transaction(1).end));
      // Enough for what was emitted to be spilled, and for idle ticks to pass.
      else await new Promise((resolve) => setTimeout(resolve, 250));
      await pipeline.stop();
      return log.acknowledged;
    };
    expect(await run(2)).not.toContain(transaction(1).end);
    expect((await store.readAll(undefined, 100)).events.map(({ type }) => type)).toEqual([
      "OrderBaselined",
    ]);
    await run(3);
    const { events } = await store.readAll(undefined, 100);
    expect(events.map(({ stream: id, type, data }) => [id, type, data["$was"] ?? null])).toEqual([
      ["order-1", "OrderBaselined", null],
      ["order-1", "OrderAmended", { note: "as it was" }],
      ["order-2", "OrderPlaced", null],
      ["order-3", "OrderPlaced", null],
    ]);
  });
});
