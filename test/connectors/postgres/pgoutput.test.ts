import fc from "fast-check";
import { describe, expect, test } from "vitest";
import * as m from "./pgoutput-messages.ts";
import type { RowChange, TransactionPart } from "../../../src/model/change.ts";
import { parseLsn } from "../../../connectors/postgres/lsn.ts";
import { PgoutputDecoder } from "../../../connectors/postgres/pgoutput.ts";
import { RelationCache } from "../../../connectors/postgres/relations.ts";
import { TransactionAssembler } from "../../../connectors/postgres/transaction-assembler.ts";
import { XidEpoch } from "../../../connectors/postgres/xid.ts";

const ITEM = m.relation(7, "public", "item", "d", [
  { name: "id", type: 23, key: true },
  { name: "name" },
  { name: "note" },
]);
const FULL = m.relation(8, "public", "full", "f", [
  { name: "id", type: 23, key: true },
  { name: "name", key: true },
]);

function reader(partBytesMax = 1e9, relations = new RelationCache()) {
  const assembler = new TransactionAssembler(new XidEpoch("1000"), parseLsn("0/0"), partBytesMax);
  const decoder = new PgoutputDecoder(relations, assembler);
  return { assembler, decode: (bytes: Buffer) => decoder.decode(bytes, 0, bytes.length) };
}

/** The parts of one transaction with these messages in it. */
function inTransaction(
  messages: readonly Buffer[],
  relations?: RelationCache,
): readonly TransactionPart[] {
  const { assembler, decode } = reader(undefined, relations);
  for (const bytes of [m.begin(0x10n, 5, 1_000_000n), ...messages, m.commit(0x10n, 0x40n)])
    decode(bytes);
  return assembler.take();
}

function changesOf(messages: readonly Buffer[]): readonly RowChange[] {
  return inTransaction(messages)[0]!.changes as readonly RowChange[];
}

const violation = expect.objectContaining({ code: "PROTOCOL_VIOLATION" });

describe("pgoutput decoder", () => {
  test("a transaction has its id, its commit position, its end and its time", () => {
    const [part] = inTransaction([ITEM, m.insert(7, ["1", "a", null])]);
    expect(part).toMatchObject({
      transaction: {
        id: "5",
        commit: "0000000000000010",
        end: "0000000000000040/00000000",
        committedAtUs: 946_684_801_000_000,
      },
      last: true,
    });
  });

  test("an insert has all cells by column index, NULL as null", () => {
    const [change] = changesOf([ITEM, m.insert(7, ["1", "", null])]);
    expect(change).toMatchObject({
      kind: "insert",
      ordinal: 1,
      before: undefined,
      after: ["1", "", null],
    });
    expect(change!.table).toMatchObject({
      name: "public.item",
      key: [0],
      replicaIdentity: "default",
    });
  });

  test("text of any length and alphabet is decoded", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary", maxLength: 60 }), (cell) => {
        expect(changesOf([ITEM, m.insert(7, [cell, "x", cell])])[0]!.after).toEqual([
          cell,
          "x",
          cell,
        ]);
      }),
    );
  });

  test("an update without an old row has no before image, and a value not sent is undefined", () => {
    const [change] = changesOf([ITEM, m.update(7, ["1", "b", m.UNCHANGED])]);
    expect(change!.before).toBeUndefined();
    expect(change!.after).toEqual(["1", "b", undefined]);
  });

  test("a changed key comes with the old key, the other columns unknown", () => {
    const old = { kind: "K", row: ["1", null, null] } as const;
    const [change] = changesOf([ITEM, m.update(7, ["2", "b", "n"], old)]);
    expect(change!.before).toEqual(["1", undefined, undefined]);
  });

  test("with the whole old row unchanged cells are the same string, and values not sent are resolved", () => {
    const large = "x".repeat(100);
    const old = { kind: "O", row: [large, large] } as const;
    const [change] = changesOf([FULL, m.update(8, [large, m.UNCHANGED], old)]);
    expect(change!.before).toEqual([large, large]);
    expect(change!.after).toEqual([large, large]);
    expect(Object.is(change!.after![0], change!.before![0])).toBe(true);
  });

  test("cells of equal length that differ are told apart, at every length", () => {
    for (const length of [1, 2, 15, 16, 17, 63, 64, 65, 200]) {
      for (let at = 0; at < length; at++) {
        const before = "a".repeat(length);
        const after = `${before.slice(0, at)}b${before.slice(at + 1)}`;
        const old = { kind: "O", row: [before, before] } as const;
        const [change] = changesOf([FULL, m.update(8, [after, before], old)]);
        expect(change!.after).toEqual([after, before]);
      }
    }
  });

  test("a delete has the key, or the whole row", () => {
    expect(changesOf([ITEM, m.remove(7, "K", ["1", null, null])])[0]).toMatchObject({
      kind: "delete",
      before: ["1", undefined, undefined],
      after: undefined,
    });
    expect(changesOf([FULL, m.remove(8, "O", ["1", null])])[0]!.before).toEqual(["1", null]);
  });

  test("of a partition it is known what can be, however the row is marked", () => {
    const columns = [{ name: "id", key: true }, { name: "owner" }, { name: "note" }];
    const parted = (identity: "d" | "f") => {
      const relations = new RelationCache();
      const facts = {
        oid: 9,
        schema: "public",
        relation: "parted",
        key: ["id"],
        partitioned: true,
      };
      const notNull = new Set(["id", "owner"]);
      const table = { ...facts, notNull, identity: "full" } as const;
      relations.useCatalogue({
        tables: new Map([[9, table]]),
        types: new Map(),
        modifiers: new Map(),
      });
      const marked = columns.map((column) => ({
        ...column,
        key: identity === "f" || column.key === true,
      }));
      const relation = m.relation(9, "public", "parted", identity, marked);
      return (message: Buffer) =>
        inTransaction([relation, message], relations)[0]!.changes[0] as RowChange;
    };
    for (const [identity, kind] of [
      ["d", "K"],
      ["f", "O"],
    ] as const) {
      const removed = (row: readonly (string | null)[]) =>
        parted(identity)(m.remove(9, kind, row)).before;
      expect(removed(["1", null, null])).toEqual(["1", undefined, undefined]);
      expect(removed(["1", "5", null])).toEqual(["1", "5", null]);
      expect(removed(["1", null, "x"])).toEqual(["1", undefined, "x"]);
      const old = { kind, row: ["1", null, null] } as const;
      const changed = parted(identity)(m.update(9, ["2", "5", m.UNCHANGED], old));
      expect(changed.before).toEqual(["1", undefined, undefined]);
      expect(changed.after).toEqual(["2", "5", undefined]);
    }
  });

  test("a truncation of several tables is one change for each, with ordinals of their own", () => {
    const [part] = inTransaction([ITEM, FULL, m.insert(7, ["1", "a", "n"]), m.truncate([7, 8], 3)]);
    expect(part!.changes.map(({ kind, ordinal, table }) => [kind, ordinal, table.name])).toEqual([
      ["insert", 1, "public.item"],
      ["truncate", 2, "public.item"],
      ["truncate", 3, "public.full"],
    ]);
  });

  test("an origin is accepted, and an empty namespace is pg_catalog", () => {
    const relation = m.relation(9, "", "thing", "d", [{ name: "id", key: true }]);
    const [part] = inTransaction([m.origin("elsewhere"), relation, m.insert(9, ["1"])]);
    expect(part!.changes[0]!.table.name).toBe("pg_catalog.thing");
  });

  test("a relation told again alike stays the same object, a different one is a new object", () => {
    const wider = m.relation(7, "public", "item", "d", [
      { name: "id", type: 23, key: true },
      { name: "name" },
      { name: "note" },
      { name: "extra" },
    ]);
    const rows = [
      m.insert(7, ["1", "a", "n"]),
      m.insert(7, ["2", "a", "n"]),
      m.insert(7, ["3", "a", "n", "e"]),
    ];
    const [first, second, third] = changesOf([ITEM, rows[0]!, ITEM, rows[1]!, wider, rows[2]!]);
    expect(second!.table).toBe(first!.table);
    expect(third!.table).not.toBe(first!.table);
    expect(third!.after).toEqual(["3", "a", "n", "e"]);
  });

  test("tables stay the same objects from one connection to the next", () => {
    const relations = new RelationCache();
    const [a] = inTransaction([ITEM, m.insert(7, ["1", "a", "n"])], relations);
    const [b] = inTransaction([ITEM, m.insert(7, ["1", "a", "n"])], relations);
    expect(b!.changes[0]!.table).toBe(a!.changes[0]!.table);
  });

  test("with identity full the key is the catalogue's, because the log flags every column", () => {
    const relations = new RelationCache();
    relations.useCatalogue({
      tables: new Map([
        [
          8,
          {
            oid: 8,
            schema: "public",
            relation: "full",
            key: ["name"],
            notNull: new Set(["name"]),
            identity: "full",
            partitioned: false,
          },
        ],
      ]),
      types: new Map([
        [25, "text"],
        [23, "int4"],
      ]),
      modifiers: new Map(),
    });
    const [part] = inTransaction([FULL, m.insert(8, ["1", "a"])], relations);
    expect(part!.changes[0]!.table).toMatchObject({
      key: [1],
      columns: [
        { name: "id", type: "int4", codec: "int", nullable: true },
        { name: "name", type: "text", codec: "text", nullable: false },
      ],
    });
  });

  test("a renamed key column keeps its place in the key", () => {
    const relations = new RelationCache();
    relations.useCatalogue({
      tables: new Map([
        [
          8,
          {
            oid: 8,
            schema: "public",
            relation: "full",
            key: ["name"],
            notNull: new Set(),
            identity: "full",
            partitioned: false,
          },
        ],
      ]),
      types: new Map(),
      modifiers: new Map(),
    });
    const renamed = m.relation(8, "public", "full", "f", [
      { name: "id", key: true },
      { name: "title", key: true },
    ]);
    inTransaction([FULL, m.insert(8, ["1", "a"])], relations);
    const [part] = inTransaction([renamed, m.insert(8, ["1", "a"])], relations);
    expect(part!.changes[0]!.table.key).toEqual([1]);
  });

  test("a renamed table goes on under the name that the config knows", () => {
    const facts = { key: ["id"], notNull: new Set<string>(), partitioned: false } as const;
    const nameOf = (planned: string, catalogue: string): string => {
      const relations = new RelationCache(new Set([planned]));
      const known = { ...facts, oid: 8, schema: "public", relation: catalogue } as const;
      relations.useCatalogue({
        tables: new Map([[8, { ...known, identity: "full" }]]),
        types: new Map(),
        modifiers: new Map(),
      });
      const [part] = inTransaction([FULL, m.insert(8, ["1", "a"])], relations);
      return part!.changes[0]!.table.name;
    };
    // The config was changed with the name, and the log is from before.
    expect(nameOf("public.renamed", "renamed")).toBe("public.renamed");
    // It was renamed after the stream began.
    expect(nameOf("public.before", "before")).toBe("public.before");
    // Another table has got its name since.
    expect(nameOf("public.full", "full_old")).toBe("public.full");
  });

  test("types are named from the catalogue, else from the log, else by number", () => {
    const relations = new RelationCache();
    relations.useCatalogue({
      tables: new Map(),
      types: new Map([
        [1700, "numeric"],
        [1015, "varchar[]"],
        [1043, "varchar"],
      ]),
      modifiers: new Map([["90000:5", "(Point,4326)"]]),
    });
    const table = m.relation(9, "public", "typed", "d", [
      { name: "a", type: 1700, modifier: ((12 << 16) | 2) + 4 },
      { name: "b", type: 1015, modifier: 24 },
      { name: "c", type: 90_000, modifier: 5 },
      { name: "d", type: 90_001 },
      { name: "e", type: 1700, modifier: ((3 << 16) | (-2 & 0x7ff)) + 4 },
    ]);
    const row = m.insert(9, ["1", "{}", "x", "y", "100"]);
    const [part] = inTransaction([m.type(90_000, "geo", "geometry"), table, row], relations);
    expect(part!.changes[0]!.table.columns.map((column) => column.type)).toEqual([
      "numeric(12,2)",
      "varchar(20)[]",
      "geo.geometry(Point,4326)",
      "oid:90001",
      "numeric(3,-2)",
    ]);
  });

  test("intents of one transaction merge, the later one wins, and other messages say nothing", () => {
    const [part] = inTransaction([
      m.message(true, "banyan", '{"actor":"ann","reason":"typo","correlationid":"c1"}'),
      ITEM,
      m.insert(7, ["1", "a", "n"]),
      m.message(true, "somebody", '{"actor":"eve"}'),
      m.message(true, "banyan", '{"actor":"bob","causationId":7}'),
    ]);
    expect(part!.intent).toEqual({
      actor: "bob",
      correlationId: "c1",
      causationId: "7",
      metadata: { reason: "typo" },
    });
  });

  test.each(["no json", "[1]", "null", '"text"', ""])(
    "an intent that is no object (%s) is noted and stops nothing",
    (content) => {
      const [part] = inTransaction([
        m.message(true, "banyan", content),
        ITEM,
        m.insert(7, ["1", "a", "n"]),
      ]);
      expect(part!.intent).toEqual({ metadata: { unparsed: true } });
    },
  );

  test("a transaction without changes is not delivered, but moves the idle position", () => {
    const { assembler, decode } = reader();
    for (const bytes of [
      m.begin(0x10n, 5),
      m.message(true, "somebody", ""),
      m.message(false, "banyan.fence", ""),
      m.commit(0x10n, 0x40n),
    ])
      decode(bytes);
    expect(assembler.take()).toEqual([]);
    expect(assembler.idlePosition()).toBe("0000000000000040/00000000");
  });

  test("a fence is delivered as a transaction without changes, and what comes after it is none", () => {
    const { assembler, decode } = reader();
    for (const bytes of [
      m.begin(0x10n, 5),
      m.message(true, "banyan.fence", ""),
      m.commit(0x10n, 0x40n),
      m.begin(0x50n, 6),
      m.commit(0x50n, 0x60n),
    ])
      decode(bytes);
    const parts = assembler.take();
    expect(parts).toMatchObject([
      { transaction: { id: "5", end: "0000000000000040/00000000" }, changes: [], last: true },
    ]);
    // What bounds a queue by bytes bounds these too.
    expect(parts[0]!.bytes).toBeGreaterThan(0);
    expect(assembler.idlePosition()).toBe("0000000000000060/00000000");
  });

  test("there is no idle position while anything is in flight or not taken", () => {
    const { assembler, decode } = reader();
    assembler.readTo(0, 0x8);
    expect(assembler.idlePosition()).toBe("0000000000000008/00000000");
    decode(m.begin(0x10n, 5));
    assembler.readTo(0, 0x90);
    expect(assembler.idlePosition()).toBeUndefined();
    for (const bytes of [ITEM, m.insert(7, ["1", "a", "n"]), m.commit(0x10n, 0x40n)]) decode(bytes);
    assembler.readTo(0, 0x90);
    expect(assembler.idlePosition()).toBeUndefined();
    assembler.take();
    expect(assembler.idlePosition()).toBe("0000000000000090/00000000");
  });

  test("a large transaction comes in parts, its end told only with the last", () => {
    const { assembler, decode } = reader(2_000);
    decode(m.begin(0x10n, 5));
    decode(ITEM);
    for (let i = 0; i < 50; i++) decode(m.insert(7, [String(i), "a", "n"]));
    const early = assembler.take();
    expect(early.length).toBeGreaterThan(1);
    expect(early.every((part) => !part.last)).toBe(true);
    expect(early[0]!.transaction.end).toBe("0000000000000010/00000000");
    decode(m.commit(0x10n, 0x40n));
    const all = [...early, ...assembler.take()];
    expect(all.at(-1)).toMatchObject({
      last: true,
      transaction: { end: "0000000000000040/00000000" },
    });
    expect(all.flatMap(({ changes }) => changes.map(({ ordinal }) => ordinal))).toEqual(
      Array.from({ length: 50 }, (_, i) => i + 1),
    );
  });

  test.each([
    ["a binary value", [ITEM, m.insert(7, ["1", { binary: "x" }, "n"])]],
    ["a row of too few columns", [ITEM, m.insert(7, ["1", "a"])]],
    ["a row of too many columns", [ITEM, m.insert(7, ["1", "a", "n", "x"])]],
    ["an unknown relation", [m.insert(7, ["1", "a", "n"])]],
    ["a begin inside a transaction", [m.begin(1n, 1)]],
    ["bytes after the end", [Buffer.concat([ITEM, Buffer.from([0])])]],
    ["a false count of truncated tables", [m.join(m.tag("T"), m.int32(-1), m.int8(0))]],
    ["an unknown replica identity", [m.relation(1, "a", "b", "x" as "d", [])]],
    [
      "a table of more columns than there can be",
      [
        m.relation(
          1,
          "a",
          "b",
          "d",
          Array.from({ length: 1_665 }, (_, i) => ({ name: `c${i}` })),
        ),
      ],
    ],
  ])("%s is a protocol violation", (_name, messages) => {
    expect(() => inTransaction(messages)).toThrowError(violation);
  });

  // Streamed (S E c A) and two-phase (b P K r p) transactions come only to who asks for a later protocol.
  test.each(["S", "E", "c", "A", "b", "P", "K", "r", "p", "w", "\0"])(
    "a message of type %j is refused by its number",
    (kind) => {
      for (const messages of [[m.tag(kind)], [m.join(m.tag(kind), m.int32(7), m.int64(1n))]]) {
        expect(() => inTransaction(messages)).toThrowError(violation);
      }
      const hex = kind.charCodeAt(0).toString(16);
      expect(() => inTransaction([m.tag(kind)])).toThrowError(`a message of type 0x${hex},`);
    },
  );

  test.each([
    ["insert", m.insert(7, ["1", "a", "n"])],
    ["commit", m.commit(1n, 2n)],
    ["truncate", m.truncate([7])],
    ["transactional message", m.message(true, "banyan", "{}")],
  ])("a %s outside a transaction is a protocol violation", (_name, bytes) => {
    expect(() => reader().decode(bytes)).toThrowError(violation);
  });
});
