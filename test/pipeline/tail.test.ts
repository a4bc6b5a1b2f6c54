import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { inserted, stream, table } from "../../src/mapping/rules.ts";
import type { Position } from "../../src/model/position.ts";
import { EventWriter } from "../../src/pipeline/event-writer.ts";
import { Overlap } from "../../src/pipeline/overlap.ts";
import { StatusBoard } from "../../src/pipeline/status-board.ts";
import { tail, type TailLimits } from "../../src/pipeline/tail.ts";
import type {
  CaptureWriter,
  CommitResult,
  Progress,
  StagedBatch,
} from "../../src/store/event-store.ts";
import { change, compile, shape, transaction } from "../support/mapping-fixtures.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";
import { eventually, partOf, ScriptedLog } from "../support/scripted-log.ts";

const orders = table<{ id: string; note: string }>("orders");
const ordersShape = shape("public.orders", "*id:int8 note");
const START = "0000000000000001/00000000" as Position;

interface Bench extends AsyncDisposable {
  readonly log: ScriptedLog;
  readonly store: MemoryEventStore;
  readonly board: StatusBoard;
  readonly writer: EventWriter;
  readonly tailing: Promise<void>;
  /** Commits wait here while it is set. */
  hold(): () => void;
  /** Nothing is staged any more from then on. */
  refuse(error: Error): void;
  readonly commits: Progress[];
  stop(): Promise<void>;
}

async function bench(
  limits: Partial<TailLimits> = {},
  describeTable: () => Promise<undefined> = () => Promise.resolve(undefined),
): Promise<Bench> {
  const mapping = compile(
    {
      order: stream(orders, {
        events: {
          OrderPlaced: inserted(orders, {
            where: ({ note }) => {
              if (note === "bad") throw new Error("cannot say");
              return true;
            },
          }),
        },
        otherwise: "OrderAmended",
      }),
    },
    [ordersShape],
  );
  const store = new MemoryEventStore();
  const capture = await store.openCapture("orders", "script://1/1");
  const commits: Progress[] = [];
  let held: Promise<void> | undefined;
  let refusal: Error | undefined;
  const commit = async (progress: Progress): Promise<CommitResult> => {
    await held;
    const result = await capture.commit(progress);
    commits.push(progress);
    return result;
  };
  const slow = Object.create(capture, {
    record: { value: capture.record },
    commit: { value: commit },
    stage: {
      value: (batch: StagedBatch) =>
        refusal === undefined ? capture.stage(batch) : Promise.reject(refusal),
    },
    versions: { value: capture.versions.bind(capture) },
    images: { value: capture.images.bind(capture) },
    rollback: { value: capture.rollback.bind(capture) },
    mappingVersion: { value: capture.mappingVersion.bind(capture) },
  }) as CaptureWriter;
  const board = new StatusBoard(capture.record);
  const writer = new EventWriter({
    writer: slow,
    mapping,
    tag: 1,
    board,
    versionsMax: 1_000,
    describe: describeTable,
    onDrift: () => undefined,
  });
  const log = new ScriptedLog([ordersShape]);
  const spillDirectory = await mkdtemp(join(tmpdir(), "banyan-spill-"));
  const stopping = new AbortController();
  const tailing = tail(
    {
      pipeline: "orders",
      source: log,
      store,
      mapping,
      writer,
      overlap: new Overlap([], () => () => false),
      board,
      limits: { ...TEST_LIMITS, ...limits },
      spillDirectory,
      onProgress: () => undefined,
    },
    START,
    stopping.signal,
  );
  tailing.catch(() => undefined);
  return {
    log,
    store,
    board,
    writer,
    tailing,
    commits,
    hold() {
      let release!: () => void;
      held = new Promise((resolve) => (release = resolve));
      return () => {
        held = undefined;
        release();
      };
    },
    refuse(error) {
      refusal = error;
    },
    async stop() {
      stopping.abort();
      await tailing;
    },
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await tailing.catch(() => undefined);
      await rm(spillDirectory, { recursive: true, force: true });
    },
  };
}

const insert = (number: number, id: string, note = "x") =>
  partOf(number, [change("insert", ordersShape, 1, undefined, [id, note])]);

describe("acknowledging", () => {
  test("comes after the events and their checkpoint are durable, never before", async () => {
    await using b = await bench({ idleMs: 10_000 });
    const release = b.hold();
    b.log.emit(insert(1, "1"));
    await sleep(50);
    expect(b.log.acknowledged).toEqual([]);
    release();
    await eventually(() => b.log.acknowledged.length > 0);
    expect(b.log.acknowledged).toEqual([transaction(1).end]);
    expect((await b.store.pipeline("orders"))!.checkpoint).toBe(transaction(1).end);
  });

  test("an idle database moves on: the checkpoint first, then the source", async () => {
    await using b = await bench();
    const idle = "00000000FFFFFFFF/00000000" as Position;
    await eventually(() => b.commits.length > 0);
    expect(b.log.acknowledged).toEqual([]);
    b.log.idle = idle;
    await eventually(() => b.log.acknowledged.includes(idle));
    expect((await b.store.pipeline("orders"))!.checkpoint).toBe(idle);
  });

  test("a fence is recorded at once, and is no transaction of the application", async () => {
    await using b = await bench({ idleMs: 10_000 });
    b.log.emit(partOf(1, []));
    await eventually(() => b.log.acknowledged.length > 0);
    const record = (await b.store.pipeline("orders"))!;
    expect(record.checkpoint).toBe(transaction(1).end);
    expect(record.ledger).toMatchObject({ transactions: 0, changesIn: 0, events: 0 });
  });

  test("a fence is recorded with what came before it, and never without", async () => {
    await using b = await bench({ idleMs: 10_000 });
    const release = b.hold();
    b.log.emit(insert(1, "1"));
    b.log.emit(partOf(2, []));
    await sleep(50);
    expect((await b.store.pipeline("orders"))?.checkpoint).toBeUndefined();
    expect(b.log.acknowledged).toEqual([]);
    release();
    await eventually(() => b.log.acknowledged.includes(transaction(2).end));
    expect(await b.store.readAll(undefined, 10)).toMatchObject({ events: [{ stream: "order-1" }] });
  });

  test("a fence behind an event that the store refuses is never recorded", async () => {
    await using b = await bench({ idleMs: 200 });
    b.refuse(new Error("no room"));
    b.log.emit(insert(1, "1"), partOf(2, []));
    await expect(b.tailing).rejects.toThrow("no room");
    expect((await b.store.pipeline("orders"))?.checkpoint).toBeUndefined();
    expect(b.log.acknowledged).toEqual([]);
  });

  test("an idle position that came up while changes wait is not taken for the checkpoint", async () => {
    await using b = await bench();
    const release = b.hold();
    b.log.emit(insert(1, "1"));
    // Long enough for an idle tick, which then waits for the commit that is held.
    await sleep(200);
    b.log.emit(insert(2, "2"));
    b.log.idle = "00000000FFFFFFFF/00000000" as Position;
    await sleep(50);
    release();
    await eventually(() => b.log.acknowledged.includes(transaction(2).end));
    const events = (await b.store.readAll(undefined, 100)).events.map((event) => event.stream);
    expect(events).toEqual(["order-1", "order-2"]);
    // In order, and without a gap.
    const checkpoints = b.commits.map(({ checkpoint }) => checkpoint!);
    expect(checkpoints).toEqual(checkpoints.toSorted());
  });
});

describe("ending", () => {
  test("an abort makes durable what was begun, and reads no more", async () => {
    await using b = await bench({ idleMs: 10_000 });
    const release = b.hold();
    b.log.emit(insert(1, "1"), insert(2, "2"));
    await sleep(30);
    const stopped = b.stop();
    b.log.emit(insert(3, "3"));
    release();
    await stopped;
    expect((await b.store.pipeline("orders"))!.checkpoint).toBe(transaction(2).end);
    expect(b.log.acknowledged.at(-1)).toBe(transaction(2).end);
  });

  test("what came before the log broke is applied before the failure is reported", async () => {
    await using b = await bench();
    b.log.emit(insert(1, "1"));
    b.log.fail(new Error("the log broke"));
    await expect(b.tailing).rejects.toThrow("the log broke");
    await eventually(async () => (await b.store.pipeline("orders"))!.checkpoint !== undefined);
    expect((await b.store.pipeline("orders"))!.checkpoint).toBe(transaction(1).end);
  });

  test("more streams in quarantine than a mapping that is right could have end it, durably", async () => {
    await using b = await bench();
    for (let i = 0; i < 100_000; i++) b.writer.mapper.blocked.add(`order-old${i}`);
    b.log.emit(insert(1, "1", "bad"));
    await expect(b.tailing).rejects.toMatchObject({ code: "QUARANTINE_FULL" });
    expect(await b.store.quarantine.count("orders")).toBe(1);
    expect((await b.store.pipeline("orders"))!.checkpoint).toBe(transaction(1).end);
  });
});

describe("failing", () => {
  test("what was staged for a commit that never came is not made durable by a chunk that waits for its turn", async () => {
    const over = new AbortController();
    const waiting: Promise<void>[] = [];
    // A chunk comes while the tail writes, and what the tail maps next fails.
    const describeTable = (): Promise<undefined> => {
      waiting.push(
        b.writer.turn(over.signal).then(async (giveTurn) => {
          await b.writer.commit({ phase: "baseline", checkpoint: undefined }, () => undefined);
          giveTurn();
          await b.writer.settle();
        }),
      );
      waiting[0]!.catch(() => undefined);
      return Promise.reject(new Error("the catalogue is gone"));
    };
    await using b = await bench({ batchChangesMax: 10_000 }, describeTable);
    const many = Array.from({ length: 2_000 }, (_, i) =>
      change("insert", ordersShape, i + 1, undefined, [String(i + 1), "x"]),
    );
    const retyped = shape("public.orders", "*id:int8 note:int4");
    b.log.emit(
      partOf(1, many),
      partOf(2, [change("insert", retyped, 1, undefined, ["9000", "1"])]),
    );
    await expect(b.tailing).rejects.toThrow("the catalogue is gone");
    await sleep(50);
    // As the pipeline does when one of the two fails.
    over.abort(new Error("the other one failed"));
    expect(waiting).toHaveLength(1);
    await expect(waiting[0]).rejects.toThrow("the other one failed");
    expect(b.commits).toEqual([]);
    expect((await b.store.readAll(undefined, 10)).events).toEqual([]);
  });
});

describe("lag", () => {
  test("is that of the oldest change not yet durable, waiting or in hand", async () => {
    await using b = await bench();
    await eventually(() => b.commits.length > 0);
    const ageSeconds = Date.now() / 1000 - transaction(1).committedAtUs / 1e6;
    const release = b.hold();
    try {
      b.log.emit(insert(1, "1"));
      await eventually(() => b.board.snapshot().lag.seconds > 0);
      expect(b.board.snapshot().lag.seconds).toBeCloseTo(ageSeconds, -2);
      // Several more looks at it, while nothing waits in the queue.
      await sleep(200);
      expect(b.board.snapshot().lag.seconds).toBeGreaterThan(0);
    } finally {
      release();
    }
    await eventually(() => b.board.snapshot().lag.seconds === 0);
  });
});
