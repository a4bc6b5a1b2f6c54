import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { capturedDatabase, typesOf, type CapturedDatabase } from "./type-matrix-support.ts";
import type { MatrixType } from "./type-matrix-values.ts";
import { onSession, sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { compileMapping, plannedTables } from "../../../src/mapping/compile.ts";
import { child, stream, table, type StreamRef } from "../../../src/mapping/rules.ts";
import { createDatabase } from "../../support/databases.ts";

/*
 * Values of every type that can be a primary key, as the key of a root and the link of its children:
 * baseline and stream must bring a root and its children together in one stream, whatever the order
 * in which the server and we sort such values, and a changed key moves the row.
 */

/** Cannot link a child to its root, because equal values may have two texts; the mapping refuses them. */
const AMBIGUOUS = /citext|interval|jsonb/;
/** The operators of extensions are found, which a capture's own session does not need. */
const OPERATORS = "SET search_path = pg_catalog, public";
/** Longer keys make no stream id. */
const KEY_LENGTH_MAX = 200;

interface KeyTable {
  readonly type: MatrixType;
  readonly root: string;
  readonly child: string;
}

/** Those of the types that a B-tree can index. */
async function keyTables(url: string): Promise<{ ddl: readonly string[]; tables: KeyTable[] }> {
  const { types, ddl } = await typesOf(url);
  await using probe = await createDatabase("key_probe");
  for (const statement of ddl) await probe.query(statement);
  const tables: KeyTable[] = [];
  for (const type of types) {
    if (AMBIGUOUS.test(type.type)) continue;
    const root = `root_${tables.length}`;
    const indexable = await probe
      .query(`CREATE TABLE public.${root} (id ${type.type} PRIMARY KEY)`)
      .then(
        () => true,
        () => false,
      );
    if (indexable) tables.push({ type, root, child: `child_${tables.length}` });
  }
  return { ddl, tables };
}

describe("keys of every type", () => {
  let captured: CapturedDatabase;
  let tables: readonly KeyTable[];

  beforeAll(async () => {
    const { ddl, tables: found } = await keyTables(inject("pgUrl"));
    tables = found;
    captured = await capturedDatabase(
      "keys",
      [
        ...ddl,
        ...tables.flatMap(({ type, root, child: of }, i) => [
          `CREATE TABLE public.${root} (id ${type.type} PRIMARY KEY, note text)`,
          `CREATE TABLE public.${of} (no int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, of ${type.type}, note text)`,
          // With the old row from the log, and from the kept image.
          ...(i % 2 === 0
            ? [
                `ALTER TABLE public.${root} REPLICA IDENTITY FULL`,
                `ALTER TABLE public.${of} REPLICA IDENTITY FULL`,
              ]
            : []),
        ]),
      ],
      tables.map(({ root, child: of }) => `public.${root}, public.${of}`).join(", "),
      Object.fromEntries(tables.map((each) => [each.root, streamOf(each)])),
    );
  });
  afterAll(async () => {
    await captured[Symbol.asyncDispose]();
  });

  test("most types can be keys, so that this tries something", () => {
    expect(tables.length).toBeGreaterThan(50);
  });

  test("bring roots and children together, in the baseline and in the stream", async () => {
    await captured.write(
      OPERATORS,
      ...tables.flatMap(({ type, root, child: of }) => [
        `INSERT INTO public.${root} SELECT v, 'old'
           FROM (VALUES ${type.values.map((value) => `(${value})`).join(", ")}) s (v)
          WHERE length(concat(v)) <= ${KEY_LENGTH_MAX} ON CONFLICT DO NOTHING`,
        `INSERT INTO public.${of} (of) SELECT id FROM public.${root}, generate_series(1, 2) ORDER BY random()`,
        `INSERT INTO public.${of} (of) VALUES (NULL)`,
      ]),
    );
    await captured.capture.catchUp();
    await expectTogether();
    await captured.write(
      OPERATORS,
      ...tables.flatMap(({ root, child: of }) => [
        `UPDATE public.${root} SET note = 'new'`,
        `INSERT INTO public.${of} (of) SELECT id FROM public.${root}`,
        // One child moves to another root, an orphan gets one, a root goes and comes back.
        `UPDATE public.${of} SET of = (SELECT id FROM public.${root} LIMIT 1)
          WHERE no = (SELECT max(no) FROM public.${of}) OR num_nulls(of) = 1`,
        `DELETE FROM public.${root} WHERE id = (SELECT of FROM public.${of} ORDER BY no LIMIT 1)`,
        `INSERT INTO public.${root} SELECT of, 'again' FROM public.${of} ON CONFLICT DO NOTHING`,
      ]),
    );
    await captured.capture.catchUp();
    await expectTogether();
    expect(await captured.store.quarantine.list()).toEqual([]);
    expect(await captured.capture.verify()).toMatchObject({ state: "equal", samples: [] });
  });

  async function expectTogether(): Promise<void> {
    for (const { type, root, child: of } of tables) {
      const { rows } = await captured.db.query(
        `SELECT r.note, (SELECT count(*)::int FROM public.${of} c WHERE c.of = r.id) AS children
           FROM public.${root} r ORDER BY 1, 2`,
      );
      const folded = (await captured.capture.fold(root)).flatMap(({ state }) =>
        [...(state.get(root)?.values() ?? [])].map(({ note }) => ({
          note,
          children: state.get("parts")?.size ?? 0,
        })),
      );
      const order = (a: (typeof folded)[number], b: typeof a): number =>
        `${a.note}${a.children}` < `${b.note}${b.children}` ? -1 : 1;
      expect([type.type, folded.sort(order)]).toEqual([type.type, rows.sort(order)]);
    }
  }
});

function streamOf({ root, child: of }: KeyTable): StreamRef {
  return stream(table(root), {
    children: { parts: child(table<{ of: string }>(of), { of: "id" }) },
    otherwise: "Amended",
  });
}

describe("roots and children", () => {
  test.each([
    ["numeric", "numeric", ["1.0", "2", "10.50", "-3.00", "NaN"]],
    ["int8", "numeric(30,4)", ["1", "9007199254740993"]],
    ["numeric(10,2)", "numeric", ["1", "2.5"]],
  ])(
    "a root with key %s and children with link %s are one stream",
    async (rootType, linkType, keys) => {
      const parts = table<{ of: string }>("parts");
      await using captured = await capturedDatabase(
        "decimal_keys",
        [
          `CREATE TABLE public.things (id ${rootType} PRIMARY KEY)`,
          `CREATE TABLE public.parts (no int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, of ${linkType})`,
        ],
        "public.things, public.parts",
        {
          thing: stream(table("things"), {
            children: { parts: child(parts, { of: "id" }) },
            otherwise: "Amended",
          }),
        },
      );
      const values = keys.map((key) => `('${key}')`).join(", ");
      const children = `INSERT INTO public.parts (of) SELECT id * 1.000 FROM public.things`;
      await captured.write(`INSERT INTO public.things VALUES ${values}`, children);
      await captured.capture.catchUp();
      await captured.write(children, `UPDATE public.parts SET of = of * 1.0 WHERE no = 1`);
      await captured.capture.catchUp();
      const folded = await captured.capture.fold("thing");
      expect(
        folded.map(({ state }) => [state.get("thing")?.size, state.get("parts")?.size]),
      ).toEqual(keys.map(() => [1, 2]));
      expect(folded.map(({ stream: id }) => id)).toContain("thing-1");
      expect((await captured.capture.verify()).state).toBe("equal");
    },
  );

  test("texts are brought together also where the database is not encoded in UTF-8", async () => {
    // Their bytes in that encoding are in another order than their code points.
    const names = ["ー", "亜", "ｱ", "Я", "ё", "一", "あ", "α", "z", "Z", "龠"];
    await using captured = await capturedDatabase(
      "encoding",
      [
        "CREATE TABLE public.things (id text PRIMARY KEY)",
        "CREATE TABLE public.parts (no int PRIMARY KEY GENERATED ALWAYS AS IDENTITY, of text)",
        `INSERT INTO public.things VALUES ${names.map((name) => `('${name}')`).join(", ")}`,
        // Not of every root, so that the two tables are read out of step.
        `INSERT INTO public.parts (of) VALUES ${names
          .filter((_, i) => i % 3 > 0)
          .map((name) => `('${name}')`)
          .join(", ")}`,
      ],
      "public.things, public.parts",
      {
        thing: stream(table("things"), {
          children: { parts: child(table<{ of: string }>("parts"), { of: "id" }) },
          otherwise: "Amended",
        }),
      },
      { encoding: "EUC_JP" },
    );
    await captured.capture.catchUp();
    const together = (await captured.capture.fold("thing")).filter(
      ({ state }) => state.get("thing")?.size === 1 && state.get("parts")?.size === 1,
    );
    expect(together).toHaveLength(names.filter((_, i) => i % 3 > 0).length);
    expect((await captured.capture.verify()).state).toBe("equal");
  });
});

describe("keys that do not tell rows apart, or not in one way", () => {
  let db: SourceDatabase;
  beforeAll(async () => {
    db = await sourceDatabase("refused_keys");
    const { ddl } = await typesOf(inject("pgUrl"));
    await onSession(db.url, ddl);
  });
  afterAll(async () => {
    await db[Symbol.asyncDispose]();
  });

  async function expectRefused(streams: Record<string, StreamRef>, why: RegExp): Promise<void> {
    const source = db.open();
    const tables = await source.discover(plannedTables(streams));
    expect(() => compileMapping(streams, tables)).toThrow(
      expect.objectContaining({
        code: "MAPPING_INVALID",
        message: expect.stringMatching(why) as unknown,
      }),
    );
  }

  test.each([
    ["public.citext", "public.citext", /citext/],
    ["interval", "interval", /interval/],
    ["jsonb", "jsonb", /jsonb/],
    ["char(3)", "char(5)", /two ways/],
    ["char(3)", "text", /two ways/],
    ["float8", "float4", /two ways/],
    ["numeric", "text", /two ways/],
  ])("a key %s and a link %s are refused", async (rootType, linkType, why) => {
    const name = `k${randomBytes(4).toString("hex")}`;
    const made = await onSession(db.url, [
      `CREATE TABLE public.${name} (id ${rootType} PRIMARY KEY)`,
      `CREATE TABLE public.${name}_parts (no int PRIMARY KEY, of ${linkType})`,
    ]).catch((error: Error) => error.message);
    // The server lacks the extension, as said above.
    if (made !== undefined) return expect(made).toMatch(/citext/);
    const parts = child(table<{ of: string }>(`${name}_parts`), { of: "id" });
    await expectRefused(
      { thing: stream(table(name), { children: { parts }, otherwise: "Amended" }) },
      why,
    );
  });

  test.each([
    [/is DEFERRABLE/, "id int PRIMARY KEY DEFERRABLE, code text", undefined],
    [/is DEFERRABLE/, "id int, code text NOT NULL, UNIQUE (code) DEFERRABLE", ["code"]],
    [/unique/, "id int, code text NOT NULL", ["code"]],
    [/unique/, "id int, code text UNIQUE", ["code"]],
    [/unique/, "id int, code text NOT NULL, EXCLUDE (code WITH =)", ["code"]],
    [/does not have: nope/, "id int PRIMARY KEY, code text", ["id", "nope"]],
    [/no primary key/, "id int, code text", undefined],
  ])("a key is refused: %s (%s)", async (why, columns, key) => {
    const name = `k${randomBytes(4).toString("hex")}`;
    await onSession(db.url, [`CREATE TABLE public.${name} (${columns})`]);
    const root = table<Record<string, string>>(name, key === undefined ? {} : { key });
    await expectRefused({ thing: stream(root, { otherwise: "Amended" }) }, why);
  });

  test.each([
    ["id int, code text NOT NULL UNIQUE", ["code"]],
    ["id int NOT NULL, code text NOT NULL UNIQUE", ["id", "code"]],
    ["id int PRIMARY KEY DEFERRABLE, code text NOT NULL UNIQUE", ["code"]],
  ])(
    "a key of the config's choice is taken where an index makes it unique (%s)",
    async (columns, key) => {
      const name = `k${randomBytes(4).toString("hex")}`;
      await onSession(db.url, [`CREATE TABLE public.${name} (${columns})`]);
      const root = table<Record<string, string>>(name, { key });
      const streams = { thing: stream(root, { otherwise: "Amended" }) };
      const tables = await db.open().discover(plannedTables(streams));
      expect(() => compileMapping(streams, tables)).not.toThrow();
    },
  );

  test("check says that UPDATE and DELETE would fail on a table whose primary key is DEFERRABLE", async () => {
    await onSession(db.url, [
      "CREATE TABLE public.late (id int PRIMARY KEY DEFERRABLE)",
      "INSERT INTO public.late VALUES (1)",
      `CREATE PUBLICATION late FOR TABLE public.late`,
    ]);
    const deleting = onSession(db.url, ["DELETE FROM public.late"]);
    await expect(deleting).rejects.toThrow(/replica identity/);
    const findings = await db.open().check({ tables: [{ name: "public.late" }] });
    expect(findings).toContainEqual(
      expect.objectContaining({ severity: "error", code: "replica-identity" }),
    );
  });

  test("rows are told apart by a key of the config's choice", async () => {
    await using captured = await capturedDatabase(
      "own_key",
      [
        "CREATE TABLE public.things (id int, code text NOT NULL, note text, UNIQUE (code))",
        "ALTER TABLE public.things REPLICA IDENTITY FULL",
        "INSERT INTO public.things VALUES (1, 'a', 'x'), (1, 'A', 'x'), (1, '', 'x')",
      ],
      "public.things",
      {
        thing: stream(table<{ code: string }>("things", { key: ["code"] }), {
          otherwise: "Amended",
        }),
      },
    );
    await captured.capture.catchUp();
    await captured.write(
      "UPDATE public.things SET code = 'b' WHERE code = 'A'",
      "UPDATE public.things SET code = upper(code)",
      "DELETE FROM public.things WHERE code = ''",
    );
    await captured.capture.catchUp();
    const live = (await captured.capture.fold("thing")).filter(
      ({ state }) => state.get("thing")?.size === 1,
    );
    expect(live.map(({ stream: id }) => id)).toEqual(["thing-A", "thing-B"]);
    expect((await captured.capture.verify()).state).toBe("equal");
  });
});
