import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { capturedDatabase, typesOf, type CapturedDatabase } from "./type-matrix-support.ts";
import type { MatrixType } from "./type-matrix-values.ts";
import { child, stream, table, type StreamRef } from "../../../src/mapping/rules.ts";
import { createDatabase } from "../../support/databases.ts";

/*
 * Values of every type that can be a primary key, as the key of a root and the link of its children:
 * baseline and stream must bring a root and its children together in one stream, whatever the order
 * in which the server and we sort such values, and a changed key moves the row.
 */

/** Cannot link a child to its root, because equal values may have two texts; the mapping refuses them. */
const AMBIGUOUS = /citext|interval|jsonb/;
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
    for (const { type, root, child: of } of tables) {
      const some = type.values.map((value) => `(${value})`).join(", ");
      await captured.write(
        `INSERT INTO public.${root} SELECT v, 'old' FROM (VALUES ${some}) s (v)
          WHERE length(concat(v)) <= ${KEY_LENGTH_MAX} ON CONFLICT DO NOTHING`,
        `INSERT INTO public.${of} (of) SELECT id FROM public.${root}, generate_series(1, 2) ORDER BY random()`,
        `INSERT INTO public.${of} (of) VALUES (NULL)`,
      );
    }
    await captured.capture.catchUp();
    await expectTogether();
    for (const { root, child: of } of tables) {
      await captured.write(
        `UPDATE public.${root} SET note = 'new'`,
        `INSERT INTO public.${of} (of) SELECT id FROM public.${root}`,
        // One child moves to another root, an orphan gets one, a root goes and comes back.
        `UPDATE public.${of} SET of = (SELECT id FROM public.${root} LIMIT 1)
          WHERE no = (SELECT max(no) FROM public.${of}) OR of IS NULL`,
        `WITH gone AS (DELETE FROM public.${root} WHERE id = (SELECT of FROM public.${of} ORDER BY no LIMIT 1) RETURNING id)
         SELECT FROM gone`,
        `INSERT INTO public.${root} SELECT of, 'again' FROM public.${of} ON CONFLICT DO NOTHING`,
      );
    }
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

describe("keys that are equal and written in two ways", () => {
  test.each([
    ["numeric", "numeric", ["1.0", "2", "10.50", "-3.00", "NaN"]],
    ["int8", "numeric(12,4)", ["1", "9007199254740993"]],
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

  test.each([
    ["public.citext", "public.citext", /citext/],
    ["interval", "interval", /interval/],
    ["jsonb", "jsonb", /jsonb/],
    ["bpchar(3)", "bpchar(5)", /two ways/],
    ["float8", "float4", /two ways/],
    ["numeric", "text", /two ways/],
  ])(
    "a root with key %s and children with link %s are refused",
    async (rootType, linkType, why) => {
      await using db = await createDatabase("unlike");
      const lacking = await db.query("CREATE EXTENSION citext").then(
        () => false,
        () => rootType.includes("citext"),
      );
      if (lacking) return void process.stderr.write("type matrix: the server lacks citext\n");
      await using captured = await capturedDatabase(
        "unlike_keys",
        [
          ...(rootType.includes("citext") ? ["CREATE EXTENSION citext SCHEMA public"] : []),
          `CREATE TABLE public.things (id ${rootType} PRIMARY KEY)`,
          `CREATE TABLE public.parts (no int PRIMARY KEY, of ${linkType})`,
        ],
        "public.things, public.parts",
        {
          thing: stream(table("things"), {
            children: { parts: child(table<{ of: string }>("parts"), { of: "id" }) },
            otherwise: "Amended",
          }),
        },
      );
      await expect(captured.capture.catchUp()).rejects.toMatchObject({
        code: "MAPPING_INVALID",
        message: expect.stringMatching(why) as unknown,
      });
    },
  );
});

describe("keys that do not tell rows apart", () => {
  test.each([
    ["is DEFERRABLE", "id int PRIMARY KEY DEFERRABLE, code text", undefined],
    ["is DEFERRABLE", "id int, code text NOT NULL, UNIQUE (code) DEFERRABLE", ["code"]],
    ["unique", "id int, code text NOT NULL", ["code"]],
    ["unique", "id int, code text UNIQUE", ["code"]],
    ["does not have: nope", "id int PRIMARY KEY, code text", ["id", "nope"]],
    ["no primary key", "id int, code text", undefined],
  ])("are refused: %s (%s)", async (why, columns, key) => {
    await using captured = await capturedDatabase(
      "no_keys",
      [
        `CREATE TABLE public.things (${columns})`,
        "ALTER TABLE public.things REPLICA IDENTITY FULL",
      ],
      "public.things",
      {
        thing: stream(table<Record<string, string>>("things", key === undefined ? {} : { key }), {
          otherwise: "Amended",
        }),
      },
    );
    await expect(captured.capture.catchUp()).rejects.toMatchObject({
      code: "MAPPING_INVALID",
      message: expect.stringContaining(why) as unknown,
    });
  });

  test("a key of the config's choice is taken where an index makes it unique", async () => {
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

  test("check says that UPDATE and DELETE would fail on a table whose primary key is DEFERRABLE", async () => {
    await using captured = await capturedDatabase(
      "deferrable",
      ["CREATE TABLE public.things (id int PRIMARY KEY DEFERRABLE)"],
      "public.things",
      {},
    );
    await captured.write("INSERT INTO public.things VALUES (1)");
    await expect(captured.write("DELETE FROM public.things")).rejects.toThrow(/replica identity/);
    const source = captured.db.open();
    const findings = await source.check({ tables: [{ name: "public.things" }] });
    expect(findings).toContainEqual(
      expect.objectContaining({ severity: "error", code: "replica-identity" }),
    );
  });
});
