import { describe, expect, test, vi } from "vitest";
import { MemoryCaptureWriter } from "../../connectors/memory/capture-writer.ts";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { stream, table } from "../../src/mapping/rules.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { PipelineStatus } from "../../src/pipeline/status.ts";
import { NOTHING_MOVED } from "../../src/store/authority.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import { startPipeline, type LivePipeline } from "../support/live-pipeline.ts";
import { change, shape, transaction } from "../support/mapping-fixtures.ts";
import { eventually, partOf, ScriptedLog } from "../support/scripted-log.ts";

const ordersShape = shape("public.orders", "*id:int8 note");
const streams = { order: stream(table("orders"), { otherwise: "OrderAmended" }) };
const rows = { "public.orders": [["1", "a"]] };

const start = (store: EventStore, log: ScriptedLog): Promise<LivePipeline> =>
  startPipeline({ name: "orders", openSource: () => log, store, streams });
const note = (number: number, was: string, now: string) =>
  partOf(number, [change("update", ordersShape, 1, ["1", was], ["1", now])]);
const failureOf = (pipeline: LivePipeline): Promise<void> => pipeline.until(() => false);

async function statusOf(store: EventStore): Promise<{ phase: string; status: PipelineStatus }> {
  const { phase, status } = (await store.pipeline("orders"))!;
  return { phase, status: status as PipelineStatus };
}

describe("a run that fails", () => {
  test("leaves word of it, and the next one takes the word away", async () => {
    const store = new MemoryEventStore();
    const log = new ScriptedLog([ordersShape], rows);
    await using pipeline = await start(store, log);
    log.emit(note(1, "a", "b"));
    await eventually(() => log.acknowledged.includes(transaction(1).end));
    log.fail(new BanyanError("SLOT_LOST", "the slot is gone", { hint: "Begin anew." }));
    await expect(failureOf(pipeline)).rejects.toMatchObject({ code: "SLOT_LOST" });
    expect(await statusOf(store)).toMatchObject({
      phase: "stopped",
      status: {
        phase: "stopped",
        failure: { code: "SLOT_LOST", message: "the slot is gone", hint: "Begin anew." },
        positions: { checkpoint: transaction(1).end },
      },
    });
    const again = new ScriptedLog([ordersShape], rows);
    await using second = await start(store, again);
    again.emit(note(2, "b", "c"));
    await eventually(() => again.acknowledged.includes(transaction(2).end));
    expect((await statusOf(store)).status.failure).toBeUndefined();
    await second.stop();
    expect(await statusOf(store)).toMatchObject({ phase: "stopped" });
  });

  test("is not over when the failure is tried again", async () => {
    const store = new MemoryEventStore();
    const log = new ScriptedLog([ordersShape], rows);
    await using pipeline = await start(store, log);
    await eventually(async () => (await store.pipeline("orders"))?.phase === "tail");
    log.fail(new BanyanError("SOURCE_UNREACHABLE", "no answer"));
    await expect(failureOf(pipeline)).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    expect(await statusOf(store)).toMatchObject({
      phase: "tail",
      status: { failure: { code: "SOURCE_UNREACHABLE" } },
    });
  });

  test("during the baseline keeps the baseline to be made, and nothing of it", async () => {
    const store = new MemoryEventStore();
    const log = new ScriptedLog([ordersShape], rows);
    log.lost = ["public.orders"];
    await using pipeline = await start(store, log);
    await expect(failureOf(pipeline)).rejects.toMatchObject({ code: "SOURCE_NOT_READY" });
    const { phase, status } = await statusOf(store);
    expect(phase).not.toBe("stopped");
    expect(status.failure?.code).toBe("SOURCE_NOT_READY");
    expect((await store.readAll(undefined, 10)).events).toEqual([]);
    await using second = await start(store, new ScriptedLog([ordersShape], rows));
    await eventually(async () => (await store.pipeline("orders"))?.phase === "tail");
    expect((await store.readAll(undefined, 10)).events).toHaveLength(1);
    await second.stop();
  });

  test("because another has taken over says nothing into what is the other's now", async () => {
    const store = new MemoryEventStore();
    const log = new ScriptedLog([ordersShape], rows);
    await using pipeline = await start(store, log);
    await eventually(async () => (await store.pipeline("orders"))?.phase === "tail");
    await using successor = await start(store, new ScriptedLog([ordersShape], rows));
    await eventually(async () => (await store.pipeline("orders"))!.epoch === 2);
    log.emit(note(1, "a", "b"));
    await expect(failureOf(pipeline)).rejects.toMatchObject({ code: "PIPELINE_FENCED" });
    expect((await statusOf(store)).status.failure).toBeUndefined();
    await successor.stop();
  });
});

test("a service that writes to a stream too is met by a new attempt, which goes on behind it", async () => {
  const store = new MemoryEventStore();
  const log = new ScriptedLog([ordersShape], rows);
  await using pipeline = await start(store, log);
  log.emit(note(1, "a", "b"));
  await eventually(() => log.acknowledged.includes(transaction(1).end));
  const id = "00000000-0000-7000-8000-000000000001";
  await store.append("order-1", [{ id, type: "OrderClosed", data: {} }], 2);
  // The pipeline still believes the stream to be at version 2.
  log.emit(note(2, "b", "c"));
  await expect(failureOf(pipeline)).rejects.toMatchObject({
    code: "STREAM_VERSION_CONFLICT",
    recovery: "retry",
  });
  const again = new ScriptedLog([ordersShape], rows);
  await using second = await start(store, again);
  again.emit(note(2, "b", "c"));
  await eventually(() => again.acknowledged.includes(transaction(2).end));
  const told = [];
  for await (const { version, type } of store.readStream("order-1")) told.push([version, type]);
  expect(told).toEqual([
    [1, "OrderBaselined"],
    [2, "OrderAmended"],
    [3, "OrderClosed"],
    [4, "OrderAmended"],
  ]);
  await second.stop();
});

test.each([
  { lagBytes: 1_000_000, asked: [] },
  { lagBytes: 0, asked: ["order-1"] },
])(
  "with $lagBytes bytes behind it asks for the versions of $asked",
  async ({ lagBytes, asked }) => {
    const store = new MemoryEventStore();
    await using first = await start(store, new ScriptedLog([ordersShape], rows));
    await eventually(async () => (await store.pipeline("orders"))?.phase === "tail");
    await first.stop();
    const versions = vi.spyOn(MemoryCaptureWriter.prototype, "versions");
    const log = new ScriptedLog([ordersShape], rows);
    log.lagBytes = lagBytes;
    await using second = await start(store, log);
    log.emit(note(1, "a", "b"));
    await eventually(() => log.acknowledged.includes(transaction(1).end));
    expect(versions.mock.calls.flatMap(([streams]) => streams)).toEqual(asked);
    versions.mockRestore();
    await second.stop();
  },
);

test("changes of tables that no stream maps pass by, and the checkpoint with them", async () => {
  const store = new MemoryEventStore();
  const log = new ScriptedLog([ordersShape], rows);
  await using pipeline = await start(store, log);
  const audit = shape("public.audit", "*id:int8 text");
  log.emit(
    partOf(1, [
      change("insert", audit, 1, undefined, ["1", "x"]),
      { kind: "truncate", table: audit, ordinal: 2 },
    ]),
  );
  await eventually(() => log.acknowledged.includes(transaction(1).end));
  expect((await store.pipeline("orders"))!.ledger).toMatchObject({
    changesIn: 0,
    events: 1,
    transactions: 1,
  });
  await pipeline.stop();
});

test("what was judged to be legacy's is held to that by the commit, also when a move is heard of in between", async () => {
  const store = new MemoryEventStore();
  const log = new ScriptedLog([ordersShape], rows);
  const moved = new Set<string>();
  const authority = {
    ...NOTHING_MOVED,
    hasBegun: true,
    get hasMoved() {
      return moved.size > 0;
    },
    isMoved: (stream: string) => moved.has(stream),
    bucketOf: () => 7,
  };
  const more = { authority };
  const options = { name: "orders", openSource: () => log, store, streams, more };
  await using pipeline = await startPipeline(options);
  const versions = vi.spyOn(MemoryCaptureWriter.prototype, "versions");
  const commits = vi.spyOn(MemoryCaptureWriter.prototype, "commit");
  try {
    // Asked behind the judgement, ahead of the commit.
    versions.mockImplementation((streams) => {
      for (const one of streams) moved.add(one);
      return Promise.resolve(streams.map(() => 1));
    });
    log.emit(note(1, "a", "b"));
    await eventually(() => log.acknowledged.includes(transaction(1).end));
    expect(moved).toEqual(new Set(["order-1"]));
    const held = commits.mock.calls.map(([{ lowestBuckets }]) => lowestBuckets?.get("order"));
    expect(held).toContain(7);
  } finally {
    versions.mockRestore();
    commits.mockRestore();
  }
  await pipeline.stop();
});
