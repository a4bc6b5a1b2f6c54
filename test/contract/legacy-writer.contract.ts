import { describe, expect, test } from "vitest";
import type { LegacyWriter, RowWrite, StreamWrite } from "../../src/reverse/legacy-writer.ts";

type Row = Readonly<Record<string, string | null>>;

export interface LegacyHarness extends AsyncDisposable {
  /** Not open. `public.parent (id int key, name text)`, `public.part (id int key, parent_id int, size int)`, both empty. */
  readonly writer: LegacyWriter;
  /** Ordered by id. */
  rows(table: "public.parent" | "public.part"): Promise<readonly Row[]>;
  /** Sets a row as the legacy application does. */
  put(table: "public.parent" | "public.part", row: Row): Promise<void>;
}

const TABLES = ["public.parent", "public.part"] as const;

function rowWrite(
  table: (typeof TABLES)[number],
  before: Row | undefined,
  after: Row | undefined,
): RowWrite {
  return { table, key: ["id"], before, after };
}

const parent = (id: string, name: string | null): Row => ({ id, name });
const part = (id: string, parent_id: string, size: string | null): Row => ({ id, parent_id, size });

/** What every writer of legacy rows keeps to. */
export function legacyWriterContract(name: string, open: () => Promise<LegacyHarness>): void {
  const first: StreamWrite = {
    stream: "parent-1",
    applied: undefined,
    version: 2,
    rows: [
      rowWrite("public.part", undefined, part("10", "1", "5")),
      rowWrite("public.parent", undefined, parent("1", "one")),
    ],
  };
  const second: StreamWrite = {
    stream: "parent-2",
    applied: undefined,
    version: 1,
    rows: [rowWrite("public.parent", undefined, parent("2", null))],
  };
  const written = { kind: "written", conflicts: [] };

  describe(`the ${name} legacy writer`, () => {
    test("writes rows, whatever their order, and says how far each stream is", async () => {
      await using h = await open();
      await h.writer.open(TABLES);
      expect(await h.writer.applied(["parent-1", "parent-2"])).toEqual(new Map());
      expect(await h.writer.write([first, second])).toEqual(written);
      expect(await h.rows("public.parent")).toEqual([parent("1", "one"), parent("2", null)]);
      expect(await h.rows("public.part")).toEqual([part("10", "1", "5")]);
      const next: StreamWrite = {
        stream: "parent-1",
        applied: 2,
        version: 5,
        rows: [
          rowWrite("public.parent", parent("1", "one"), { name: null }),
          rowWrite("public.part", part("10", "1", "5"), undefined),
          rowWrite("public.part", undefined, part("11", "1", null)),
        ],
      };
      expect(await h.writer.write([next])).toEqual(written);
      expect(await h.rows("public.parent")).toEqual([parent("1", null), parent("2", null)]);
      expect(await h.rows("public.part")).toEqual([part("11", "1", null)]);
      expect(await h.writer.applied(["parent-2", "parent-1", "parent-3"])).toEqual(
        new Map([
          ["parent-1", 5],
          ["parent-2", 1],
        ]),
      );
    });

    test("writes nothing of a stream one row of which is not as it was, and all of the others", async () => {
      await using h = await open();
      await h.writer.open(TABLES);
      await h.writer.write([first, second]);
      await h.put("public.parent", parent("1", "foreign"));
      const outcome = await h.writer.write([
        {
          stream: "parent-1",
          applied: 2,
          version: 3,
          rows: [
            rowWrite("public.part", part("10", "1", "5"), { size: "6" }),
            rowWrite("public.parent", parent("1", "one"), { name: "uno" }),
          ],
        },
        {
          stream: "parent-2",
          applied: 1,
          version: 4,
          rows: [rowWrite("public.parent", parent("2", null), { name: "two" })],
        },
      ]);
      expect(outcome).toMatchObject({
        kind: "written",
        conflicts: [{ stream: "parent-1", table: "public.parent", key: "1", columns: ["name"] }],
      });
      expect(await h.rows("public.parent")).toEqual([parent("1", "foreign"), parent("2", "two")]);
      expect(await h.rows("public.part")).toEqual([part("10", "1", "5")]);
      expect(await h.writer.applied(["parent-1", "parent-2"])).toEqual(
        new Map([
          ["parent-1", 2],
          ["parent-2", 4],
        ]),
      );
    });

    test("takes a row that is as it should be for written, and no other for one", async () => {
      await using h = await open();
      await h.writer.open(TABLES);
      await h.put("public.parent", parent("1", "one"));
      await h.put("public.parent", parent("3", "changed"));
      await h.put("public.parent", parent("4", "foreign"));
      const one = (id: string, rows: readonly RowWrite[]): StreamWrite => ({
        stream: `parent-${id}`,
        applied: undefined,
        version: 1,
        rows,
      });
      const outcome = await h.writer.write([
        one("1", [rowWrite("public.parent", undefined, parent("1", "one"))]),
        one("2", [rowWrite("public.parent", parent("2", "gone"), undefined)]),
        one("3", [rowWrite("public.parent", parent("3", "was"), { name: "changed" })]),
        one("4", [rowWrite("public.parent", undefined, parent("4", "ours"))]),
        one("5", [rowWrite("public.parent", parent("5", "was"), { name: "is" })]),
        one("6", []),
      ]);
      expect(outcome).toMatchObject({ kind: "written" });
      const conflicts = outcome.kind === "written" ? outcome.conflicts : [];
      expect(conflicts.map(({ stream }) => stream).sort()).toEqual(["parent-4", "parent-5"]);
      expect((await h.writer.applied(["parent-6", "parent-5"])).size).toBe(1);
      expect(await h.rows("public.parent")).toEqual([
        parent("1", "one"),
        parent("3", "changed"),
        parent("4", "foreign"),
      ]);
    });

    test("has another take its place once it is closed", async () => {
      await using h = await open();
      await h.writer.open(TABLES);
      await h.writer.write([second]);
      await h.writer.close();
      await h.writer.open(TABLES);
      expect(await h.writer.applied(["parent-2"])).toEqual(new Map([["parent-2", 1]]));
    });
  });
}
