import { describe, expect, test } from "vitest";
import type { Position } from "../../src/model/position.ts";
import { StatusBoard } from "../../src/pipeline/status-board.ts";
import { addLedger, EMPTY_LEDGER } from "../../src/pipeline/status.ts";
import type { PipelineRecord } from "../../src/store/event-store.ts";
import { BanyanError } from "../../src/model/errors.ts";

const at = (digits: number): Position => `${String(digits).padStart(16, "0")}/00000000` as Position;
const RECORD: PipelineRecord = {
  name: "shop",
  source: "postgres://1/1/shop",
  epoch: 3,
  phase: "stopped",
  checkpoint: at(5),
  baselinePosition: at(1),
  ledger: { ...EMPTY_LEDGER, changesIn: 1_000_000, events: 2_000_000 },
  tables: [],
  status: {},
  updatedAt: "2026-01-01T00:00:00.000Z",
};

function boardAt(startMs = 1_000_000) {
  let nowMs = startMs;
  const board = new StatusBoard(RECORD, () => nowMs);
  return {
    board,
    pass: (ms: number): void => void (nowMs += ms),
    rates: () => board.snapshot().rates,
  };
}

describe("rates", () => {
  test("are of this run, not of all that the ledger has", () => {
    const { rates, pass } = boardAt();
    pass(1_000);
    expect(rates()).toEqual({ changesPerSecond: 0, eventsPerSecond: 0 });
  });

  test("of a steady flow are that flow, whatever the size of the batches", () => {
    for (const everyMs of [1, 10, 250, 2_000]) {
      const { board, pass, rates } = boardAt();
      for (let ms = 0; ms < 30_000; ms += everyMs) {
        pass(everyMs);
        board.committed({ changesIn: everyMs, events: 2 * everyMs }, undefined);
      }
      expect(Math.abs(rates().changesPerSecond - 1_000)).toBeLessThan(30);
      expect(Math.abs(rates().eventsPerSecond - 2_000)).toBeLessThan(60);
    }
  });

  test("follow a flow that changes within the window, and come to nothing when it ends", () => {
    const { board, pass, rates } = boardAt();
    const flow = (perSecond: number, seconds: number): void => {
      for (let i = 0; i < seconds; i++) {
        pass(1_000);
        board.committed({ changesIn: perSecond, events: perSecond }, undefined);
      }
    };
    flow(100, 60);
    flow(1_000, 11);
    expect(rates().changesPerSecond).toBeGreaterThan(950);
    flow(0, 11);
    expect(rates()).toEqual({ changesPerSecond: 0, eventsPerSecond: 0 });
    flow(500, 5);
    pass(60_000);
    expect(rates()).toEqual({ changesPerSecond: 0, eventsPerSecond: 0 });
  });

  test("take no more memory the more commits there are", () => {
    const { board, pass } = boardAt();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 200_000; i++) {
      pass(0.05);
      board.committed({ changesIn: 1 }, undefined);
    }
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(50 * 1024 * 1024);
    expect(board.ledger.changesIn).toBe(1_200_000);
  });
});

describe("lag", () => {
  test("is the age of the oldest transaction not yet applied; none when none waits", () => {
    const { board } = boardAt(10_000);
    board.lag(at(9), 4_096, 7_500_000);
    expect(board.snapshot().lag).toEqual({ bytes: 4_096, seconds: 2.5 });
    expect(board.snapshot().positions.head).toBe(at(9));
    board.lagSeconds(undefined);
    expect(board.snapshot().lag).toEqual({ bytes: 4_096, seconds: 0 });
  });

  test("is never below zero, though the source's clock is ahead", () => {
    const { board } = boardAt(10_000);
    board.lag(at(9), 0, 11_000_000);
    expect(board.snapshot().lag.seconds).toBe(0);
  });
});

describe("a snapshot", () => {
  test("begins where the record stood, and goes on with what was committed", () => {
    const { board } = boardAt();
    expect(board.snapshot()).toMatchObject({
      pipeline: "shop",
      phase: "stopped",
      processId: process.pid,
      positions: { checkpoint: at(5), baseline: at(1), head: undefined },
      ledger: RECORD.ledger,
      quarantine: { streams: 0 },
      baseline: undefined,
      drift: [],
    });
    board.enter("tail");
    board.committed({ changesIn: 5, changesClaimed: 5 }, at(7));
    board.committed({}, undefined);
    board.quarantined(2);
    expect(board.snapshot()).toMatchObject({
      phase: "tail",
      positions: { checkpoint: at(7) },
      ledger: { changesIn: 1_000_005, changesClaimed: 5, events: 2_000_000 },
      quarantine: { streams: 2 },
    });
  });

  test("is a picture: what happens later does not change it", () => {
    const { board } = boardAt();
    const before = board.snapshot();
    const copy = structuredClone(before);
    board.committed({ changesIn: 5 }, at(8));
    board.drifted({
      table: "public.orders",
      added: ["a"],
      dropped: [],
      retyped: [],
      renamed: [],
      untold: [],
      broken: new BanyanError("SCHEMA_DRIFT", "rule A uses it"),
    });
    expect(before).toEqual(copy);
    expect(board.snapshot().drift).toMatchObject([
      { table: "public.orders", stops: "rule A uses it" },
    ]);
    expect(JSON.parse(JSON.stringify(board.snapshot()))).toMatchObject({ pipeline: "shop" });
  });

  test("keeps a bounded number of schema changes", () => {
    const { board } = boardAt();
    const none = {
      added: [],
      dropped: [],
      retyped: [],
      renamed: [],
      untold: [],
      broken: undefined,
    };
    for (let i = 0; i < 1_000; i++) board.drifted({ table: `t${i}`, ...none });
    expect(board.snapshot().drift).toHaveLength(100);
  });
});

test("a ledger is added up count by count", () => {
  const sum = addLedger(
    { ...EMPTY_LEDGER, events: 1, changesIn: 2 },
    { events: 3, changesParked: -1 },
  );
  expect(sum).toEqual({ ...EMPTY_LEDGER, events: 4, changesIn: 2, changesParked: -1 });
});

describe("the mapping", () => {
  test("is told with the checkpoint from which on it tells events, also over a restart", () => {
    const { board } = boardAt();
    expect(board.snapshot().mapping).toBeUndefined();
    board.mapped(3);
    expect(board.snapshot().mapping).toEqual({ version: 3, since: at(5) });
    board.committed({}, at(9));
    board.mapped(3);
    const status = board.snapshot();
    expect(status.mapping).toEqual({ version: 3, since: at(5) });
    const next = new StatusBoard({ ...RECORD, checkpoint: at(9), status });
    next.mapped(3);
    expect(next.snapshot().mapping).toEqual({ version: 3, since: at(5) });
    next.mapped(4);
    expect(next.snapshot().mapping).toEqual({ version: 4, since: at(9) });
  });

  test("of a first baseline has no checkpoint before it", () => {
    const board = new StatusBoard({ ...RECORD, checkpoint: undefined });
    board.mapped(1);
    expect(board.snapshot().mapping).toEqual({ version: 1 });
  });
});

describe("the coverage", () => {
  test("is asked for once a second, because a status is told with every commit, and at the end", () => {
    const { board, pass } = boardAt();
    board.enter("tail");
    let asked = 0;
    board.covers(() => {
      asked += 1;
      const told = { named: asked, fallback: 0 };
      const table = { stream: "s", table: "t", inserts: told, updates: told, deletes: told };
      return { changes: told, tables: [{ ...table, columns: [] }], suggestions: [] };
    });
    for (let n = 0; n < 10; n++) board.snapshot();
    expect(asked).toBe(1);
    pass(1_000);
    expect(board.snapshot().coverage!.changes.named).toBe(2);
    board.enter("stopped");
    expect(board.snapshot().coverage!.changes.named).toBe(3);
  });
});
