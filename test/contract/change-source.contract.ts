import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { RowChange, TransactionPart } from "../../src/model/change.ts";
import { changePosition, isBefore, type Position } from "../../src/model/position.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";
import type { CapturePlan, ChangeSource } from "../../src/source/change-source.ts";

/** A fresh database with one empty table: a key column `id` (a whole number) and a text column `name`. */
export interface ContractDatabase extends AsyncDisposable {
  /** That table, ready for capture. */
  readonly plan: CapturePlan;
  /** A source on the database; each call gives another one on the same slot or its like. */
  open(): Promise<ChangeSource>;
  /** Carries out the writes in one transaction. */
  commit(writes: readonly ContractWrite[]): Promise<void>;
  /** Begins a transaction with this insert and leaves it open until the returned function is called. */
  begin(write: ContractWrite): Promise<() => Promise<void>>;
  /** Brings the log further by something that is not captured. */
  elsewhere(): Promise<void>;
}

export type ContractWrite =
  | { readonly kind: "insert" | "update"; readonly id: number; readonly name: string | null }
  | { readonly kind: "delete"; readonly id: number };

export interface Followed {
  readonly parts: TransactionPart[];
  readonly groups: number;
}

/** Far beyond what anything here takes, also beside other tests. */
const WAIT_MS_MAX = 50_000;

/** Reads the stream until `enough` says so, or fails in the end. */
export async function follow(
  source: ChangeSource,
  from: Position,
  enough: (parts: readonly TransactionPart[]) => boolean,
): Promise<Followed> {
  const stop = new AbortController();
  const late = setTimeout(() => stop.abort(), WAIT_MS_MAX);
  const parts: TransactionPart[] = [];
  let groups = 0;
  try {
    for await (const group of source.stream(from, stop.signal)) {
      groups += 1;
      parts.push(...group);
      if (enough(parts)) return { parts, groups };
    }
    throw new Error(`the stream gave only ${parts.length} parts`);
  } finally {
    clearTimeout(late);
  }
}

export function transactions(count: number) {
  return (parts: readonly TransactionPart[]): boolean =>
    parts.filter(({ last }) => last).length >= count;
}

/** All rows of a table, in groups as they come. */
export async function readAll(
  snapshot: { readRows: ChangeSourceRows },
  table: SourceTable,
  orderBy: Parameters<ChangeSourceRows>[1] = [],
): Promise<Cells[]> {
  const rows: Cells[] = [];
  for await (const group of snapshot.readRows(table, orderBy, new AbortController().signal))
    rows.push(...group);
  return rows;
}

type ChangeSourceRows = Awaited<ReturnType<ChangeSource["openBaseline"]>>["readRows"];

const never = new AbortController().signal;

/** The behaviour every source of changes must show. */
export function changeSourceContract(name: string, fresh: () => Promise<ContractDatabase>): void {
  /** A database with a baseline taken and closed, and a source to read on from it. */
  async function started(): Promise<
    { db: ContractDatabase; source: ChangeSource; position: Position } & AsyncDisposable
  > {
    const db = await fresh();
    const source = await db.open();
    const snapshot = await source.openBaseline(db.plan, never);
    await snapshot.close();
    return {
      db,
      source,
      position: snapshot.position,
      async [Symbol.asyncDispose]() {
        await source.close();
        await db[Symbol.asyncDispose]();
      },
    };
  }

  const insert = (id: number): ContractWrite => ({ kind: "insert", id, name: `n${id}` });
  const idsOf = (parts: readonly TransactionPart[]): unknown[] =>
    parts.flatMap(({ changes }) =>
      changes.map((change) => Number((change as RowChange).after?.[0])),
    );

  describe(`change source contract: ${name}`, () => {
    test("says who it is the same way each time, without secrets", async () => {
      await using db = await fresh();
      const [one, two] = [await db.open(), await db.open()];
      const identity = await one.identify();
      expect(identity.uri).toMatch(/^\w+:\/\//);
      expect(identity.uri).not.toContain("@");
      expect(await two.identify()).toEqual(identity);
      await Promise.all([one.close(), two.close()]);
    });

    test("names every missing table at once", async () => {
      await using db = await fresh();
      const source = await db.open();
      const asked = source.discover([
        ...db.plan.tables,
        { name: "nowhere.a" },
        { name: "nowhere.b" },
      ]);
      await expect(asked).rejects.toMatchObject({
        code: "TABLE_MISSING",
        message: expect.stringMatching(/nowhere\.a.*nowhere\.b/) as unknown,
      });
      await source.close();
    });

    test("the baseline has what was before, the stream what came after, and nothing is in both", async () => {
      await using db = await fresh();
      await db.commit([insert(1), insert(2)]);
      const source = await db.open();
      const snapshot = await source.openBaseline(db.plan, never);
      await db.commit([insert(3)]);
      const [table] = snapshot.tables;
      expect((await readAll(snapshot, table!)).map((row) => Number(row[0]))).toEqual([1, 2]);
      await snapshot.close();
      await db.commit([insert(4)]);
      const { parts } = await follow(source, snapshot.position, transactions(2));
      expect(idsOf(parts)).toEqual([3, 4]);
      await source.close();
    });

    test("a baseline that was not finished is begun anew", async () => {
      await using db = await fresh();
      await db.commit([insert(1)]);
      const first = await db.open();
      const left = await first.openBaseline(db.plan, never);
      expect(left.restarted).toBe(false);
      await first.close();
      const second = await db.open();
      // Without knowing that it was ours, what is found is left alone.
      await expect(second.openBaseline(db.plan, never)).rejects.toMatchObject({
        code: "SOURCE_NOT_READY",
      });
      let begun = 0;
      const onBegin = async (): Promise<void> => void (begun += 1);
      const snapshot = await second.openBaseline({ ...db.plan, isRestart: true, onBegin }, never);
      expect(begun).toBe(1);
      expect(snapshot.restarted).toBe(true);
      expect(isBefore(snapshot.position, left.position)).toBe(false);
      expect(await readAll(snapshot, snapshot.tables[0]!)).toHaveLength(1);
      await second.close();
    });

    test("rows come in the order asked for, whichever way they were stored", async () => {
      await using db = await fresh();
      const ids = [10, 9, 100, -5, 2, 1_000];
      await db.commit(ids.map(insert));
      const source = await db.open();
      const snapshot = await source.openBaseline(db.plan, never);
      const [table] = snapshot.tables;
      const byNumber = await readAll(snapshot, table!, [{ column: 0, as: "integer" }]);
      expect(byNumber.map((row) => Number(row[0]))).toEqual(ids.toSorted((a, b) => a - b));
      const byText = await readAll(snapshot, table!, [{ column: 1, as: "bytes" }]);
      expect(byText.map((row) => row[1])).toEqual(ids.map((id) => `n${id}`).sort());
      await source.close();
    });

    test("several tables can be read at once, and a reader can stop early", async () => {
      await using db = await fresh();
      await db.commit(Array.from({ length: 2_500 }, (_, i) => insert(i)));
      const source = await db.open();
      const snapshot = await source.openBaseline(db.plan, never);
      const [table] = snapshot.tables;
      for await (const group of snapshot.readRows(table!, [], never)) {
        expect(group.length).toBeGreaterThan(0);
        break;
      }
      const all = await Promise.all([readAll(snapshot, table!), readAll(snapshot, table!)]);
      expect(all.map((rows) => rows.length)).toEqual([2_500, 2_500]);
      expect(await snapshot.estimateRows(table!)).toBe(2_500);
      const stop = new AbortController();
      const reading = (async () => {
        for await (const _ of snapshot.readRows(table!, [], stop.signal)) stop.abort();
      })();
      await expect(reading).rejects.toThrow();
      await source.close();
    });

    test("transactions come whole, in the order of their commits, with positions that grow", async () => {
      await using s = await started();
      await s.db.commit([insert(1), insert(2)]);
      await s.db.commit([
        { kind: "update", id: 1, name: "changed" },
        { kind: "delete", id: 2 },
      ]);
      await s.db.commit([insert(3)]);
      const { parts } = await follow(s.source, s.position, transactions(3));
      expect(parts.map(({ changes, last }) => [changes.map(({ kind }) => kind), last])).toEqual([
        [["insert", "insert"], true],
        [["update", "delete"], true],
        [["insert"], true],
      ]);
      expect(parts[1]!.changes[0]).toMatchObject({ after: ["1", "changed"], ordinal: 1 });
      let previous = s.position;
      for (const { transaction, changes } of parts) {
        for (const { ordinal } of changes) {
          const position = changePosition(transaction.commit, ordinal);
          expect(isBefore(previous, position)).toBe(true);
          previous = position;
        }
        expect(isBefore(previous, transaction.end)).toBe(true);
        previous = transaction.end;
      }
    });

    test("whichever checkpoint is resumed, what follows is exactly the rest", async () => {
      await using s = await started();
      for (let id = 0; id < 8; id++) await s.db.commit([insert(id)]);
      const { parts } = await follow(s.source, s.position, transactions(8));
      for (let done = 0; done < 7; done++) {
        const again = await follow(s.source, parts[done]!.transaction.end, transactions(7 - done));
        expect(again.parts).toEqual(parts.slice(done + 1));
      }
    });

    test("what was not acknowledged is told again to the next reader, what was is not needed any more", async () => {
      await using s = await started();
      for (let id = 0; id < 4; id++) await s.db.commit([insert(id)]);
      const first = await follow(s.source, s.position, transactions(4));
      s.source.acknowledge(first.parts[1]!.transaction.end);
      await s.source.close();
      const next = await s.db.open();
      const { parts } = await follow(next, first.parts[1]!.transaction.end, transactions(2));
      expect(parts).toEqual(first.parts.slice(2));
      await next.close();
    });

    test("an acknowledgement never goes back", async () => {
      await using s = await started();
      for (let id = 0; id < 3; id++) await s.db.commit([insert(id)]);
      const { parts } = await follow(s.source, s.position, transactions(3));
      s.source.acknowledge(parts[2]!.transaction.end);
      s.source.acknowledge(parts[0]!.transaction.end);
      await s.db.commit([insert(9)]);
      const rest = await follow(s.source, parts[2]!.transaction.end, transactions(1));
      expect(idsOf(rest.parts)).toEqual([9]);
    });

    test("an abort ends the stream in good order, before it begins and while it waits", async () => {
      await using s = await started();
      for await (const _ of s.source.stream(s.position, AbortSignal.abort()))
        throw new Error("not reached");
      const stop = new AbortController();
      setTimeout(() => stop.abort(), 200);
      for await (const _ of s.source.stream(s.position, stop.signal))
        throw new Error("nothing was written");
      await s.db.commit([insert(1)]);
      expect(idsOf((await follow(s.source, s.position, transactions(1))).parts)).toEqual([1]);
    });

    test("a slow consumer gets everything in fewer groups", async () => {
      await using s = await started();
      const stop = new AbortController();
      let groups = 0;
      const ids: unknown[] = [];
      const writing = (async () => {
        for (let id = 0; id < 50; id++) await s.db.commit([insert(id)]);
      })();
      for await (const group of s.source.stream(s.position, stop.signal)) {
        groups += 1;
        ids.push(...idsOf(group));
        if (ids.length === 50) break;
        if (groups === 1) await writing;
        // Time for all that was written to come.
        await sleep(groups === 1 ? 1_000 : 100);
      }
      expect(ids).toEqual(Array.from({ length: 50 }, (_, id) => id));
      expect(groups).toBeLessThan(10);
    });

    test("a fence lies after what was committed before it and before what comes later", async () => {
      await using s = await started();
      await s.db.commit([insert(1)]);
      const fence = await s.source.fence();
      await s.db.commit([insert(2)]);
      const all = await follow(s.source, s.position, (parts) => idsOf(parts).length >= 2);
      const parts = all.parts.filter(({ changes }) => changes.length > 0);
      expect(
        isBefore(parts[0]!.transaction.end, fence) || parts[0]!.transaction.end === fence,
      ).toBe(true);
      expect(isBefore(fence, changePosition(parts[1]!.transaction.commit, 1))).toBe(true);
    });

    test("a fence comes in its place in the log, also when nothing else is written", async () => {
      await using s = await started();
      await s.db.commit([insert(1)]);
      const early = await s.source.fence();
      await s.db.commit([insert(2)]);
      const waiting = sleep(300).then(() => s.source.fence());
      const { parts } = await follow(s.source, s.position, transactions(4));
      const late = await waiting;
      expect(parts.map((part) => idsOf([part]))).toEqual([[1], [], [2], []]);
      expect(isBefore(parts[1]!.transaction.end, early)).toBe(false);
      expect(isBefore(parts[1]!.transaction.end, parts[2]!.transaction.end)).toBe(true);
      expect(isBefore(parts[3]!.transaction.end, late)).toBe(false);
    });

    test("an idle database still moves on, and never while something is not taken", async () => {
      await using s = await started();
      const stop = new AbortController();
      expect(s.source.idlePosition()).toBeUndefined();
      await s.db.commit([insert(1)]);
      let head: Position | undefined;
      const watching = (async () => {
        for (let waited = 0; waited < WAIT_MS_MAX / 50; waited++) {
          await sleep(50);
          const idle = s.source.idlePosition();
          if (head !== undefined && idle !== undefined && !isBefore(idle, head)) return idle;
        }
        return undefined;
      })().finally(() => stop.abort());
      let end: Position | undefined;
      for await (const group of s.source.stream(s.position, stop.signal)) {
        // Held by the consumer: what came meanwhile is not taken.
        await s.db.commit([insert(end === undefined ? 2 : 3)]);
        await sleep(300);
        if (end === undefined) expect(s.source.idlePosition()).toBeUndefined();
        end = group.at(-1)!.transaction.end;
        if (idsOf(group).includes(2)) break;
      }
      for await (const group of s.source.stream(end!, stop.signal)) {
        end = group.at(-1)!.transaction.end;
        await s.db.elsewhere();
        head = (await s.source.head(undefined)).position;
      }
      const idle = await watching;
      expect(idle).toBeDefined();
      expect(isBefore(end!, idle!)).toBe(true);
    });

    test("there is no idle position while the consumer holds what it was given", async () => {
      await using s = await started();
      await s.db.commit([insert(1)]);
      const stop = new AbortController();
      let held = 0;
      for await (const _ of s.source.stream(s.position, stop.signal)) {
        // The log goes on without a change, and the reader with it.
        for (; held < 8; held++) {
          await s.db.elsewhere();
          await sleep(50);
          expect(s.source.idlePosition()).toBeUndefined();
        }
        stop.abort();
      }
      expect(held).toBe(8);
    });

    test("an acknowledged idle position is nothing new", async () => {
      await using s = await started();
      const stop = new AbortController();
      const seen: (Position | undefined)[] = [];
      const watching = (async () => {
        await s.db.elsewhere();
        const { position } = await s.source.head(undefined);
        for (let waited = 0; waited < WAIT_MS_MAX / 50; waited++) {
          await sleep(50);
          const idle = s.source.idlePosition();
          if (idle === undefined || isBefore(idle, position)) continue;
          s.source.acknowledge(idle);
          seen.push(idle, s.source.idlePosition());
          break;
        }
        stop.abort();
      })();
      for await (const _ of s.source.stream(s.position, stop.signal));
      await watching;
      expect(seen).toEqual([expect.any(String), undefined]);
    });

    test("the lag is the log between a position and the end", async () => {
      await using s = await started();
      const before = await s.source.head(s.position);
      await s.db.commit([insert(1)]);
      const after = await s.source.head(s.position);
      expect(isBefore(before.position, after.position)).toBe(true);
      expect(after.lagBytes).toBeGreaterThan(before.lagBytes);
      expect((await s.source.head(after.position)).lagBytes).toBeGreaterThanOrEqual(0);
      expect((await s.source.head(undefined)).lagBytes).toBe(0);
    });

    test("a parity snapshot knows which transactions it sees, and its fence lies after them", async () => {
      await using s = await started();
      await s.db.commit([insert(1)]);
      const release = await s.db.begin(insert(2));
      await s.db.commit([insert(3)]);
      const tables = await s.source.discover(s.db.plan.tables);
      const snapshot = await s.source.openParity(tables, never);
      await release();
      await s.db.commit([insert(4)]);
      const rows = await readAll(snapshot, snapshot.tables[0]!, [{ column: 0, as: "integer" }]);
      expect(rows.map((row) => Number(row[0]))).toEqual([1, 3]);
      const { parts } = await follow(s.source, s.position, (all) => idsOf(all).length >= 4);
      const seen = parts.filter(({ transaction }) => snapshot.sees(transaction.id));
      expect(idsOf(seen)).toEqual([1, 3]);
      for (const { transaction } of seen)
        expect(isBefore(snapshot.fence, transaction.end)).toBe(false);
      await snapshot.close();
    });

    test("a change of many values and NULLs comes as it is stored", async () => {
      await using s = await started();
      const names = [
        "",
        " ",
        "tab\there",
        "line\nbreak",
        "back\\slash",
        "quote'\"",
        "Zürich 😀",
        "\\N",
        null,
        "x".repeat(100_000),
      ];
      await s.db.commit(names.map((value, id) => ({ kind: "insert", id, name: value })));
      const { parts } = await follow(s.source, s.position, transactions(1));
      const streamed = parts.flatMap(({ changes }) =>
        changes.map((change) => (change as RowChange).after![1]),
      );
      expect(streamed).toEqual(names);
      const tables = await s.source.discover(s.db.plan.tables);
      const snapshot = await s.source.openParity(tables, never);
      const read = await readAll(snapshot, tables[0]!, [{ column: 0, as: "integer" }]);
      expect(read.map((row) => row[1])).toEqual(names);
      await snapshot.close();
    });

    test("close ends what is open, in bounded time", async () => {
      await using db = await fresh();
      const source = await db.open();
      const snapshot = await source.openBaseline(db.plan, never);
      const streaming = (async () => {
        for await (const _ of source.stream(snapshot.position, never));
      })();
      await sleep(300);
      const startedMs = performance.now();
      await source.close();
      await streaming;
      expect(performance.now() - startedMs).toBeLessThan(10_000);
    });
  });
}
