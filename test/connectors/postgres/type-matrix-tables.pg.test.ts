import { describe, expect, test } from "vitest";
import { capturedDatabase, expectSameRows, foldedRows } from "./type-matrix-support.ts";
import { changed, child, inserted, stream, table, updated } from "../../../src/mapping/rules.ts";

/** An identifier in SQL. */
const q = (name: string): string => `"${name.replaceAll('"', '""')}"`;
/** An identifier in a config, where a dot inside a name is escaped. */
const c = (name: string): string => name.replaceAll(".", "\\.");

const COLUMNS_MAX = 1_600;
const LARGE_CHARACTERS = 8 * 1024 * 1024;

const AWKWARD_NAMES = [
  "order",
  "Mixed Case",
  'with "quotes"',
  "dot.ted.name",
  "back\\slash",
  "it's",
  "a,b",
  "tab\there",
  "line\nbreak",
  "Straße 😀",
  "x".repeat(63),
  "é".repeat(31),
  "constructor",
  "toString",
  "hasOwnProperty",
  "with",
  "data",
  "was",
  "1",
  " ",
];

describe("tables of every shape", () => {
  test("a table of 1,600 columns folds to its rows", async () => {
    // Small types only: a row of 1,600 columns must fit into a page.
    const types = ["int2", "bool", '"char"'];
    const columns = Array.from({ length: COLUMNS_MAX - 1 }, (_, i) => `c${i}`);
    const typeOf = (i: number): string => types[i % 3]!;
    const valueOf = (i: number, k: number): string =>
      (i + k) % 7 === 0
        ? "NULL"
        : `'${[String(i + k), (i + k) % 2 === 0 ? "t" : "f", "x"][i % 3]!}'`;
    const row = (k: number): string => columns.map((_, i) => valueOf(i, k)).join(", ");
    const wide = table<Record<string, string>>("wide");
    await using captured = await capturedDatabase(
      "wide",
      [
        `CREATE TABLE public.wide (id int PRIMARY KEY, ${columns.map((name, i) => `${name} ${typeOf(i)}`).join(", ")})`,
        "CREATE TABLE public.wide_again (LIKE public.wide)",
        `INSERT INTO public.wide VALUES (1, ${row(0)}), (2, ${row(1)})`,
      ],
      "public.wide",
      {
        wide: stream(wide, {
          events: { LastChanged: updated(wide, changed("c1598")) },
          otherwise: "Amended",
        }),
      },
    );
    await captured.capture.catchUp();
    await captured.write(
      `INSERT INTO public.wide VALUES (3, ${row(2)})`,
      `UPDATE public.wide SET (${columns.join(", ")}) = ROW(${row(3)}) WHERE id = 1`,
      "UPDATE public.wide SET c1598 = 'z' WHERE id = 2",
    );
    await captured.capture.catchUp();
    const rows = await foldedRows(captured.capture, "wide");
    await expectSameRows(
      captured.db.url,
      "public.wide",
      "public.wide_again",
      ["id", ...columns],
      rows.values(),
    );
    expect((await captured.capture.verify()).state).toBe("equal");
  });

  test.each(["DEFAULT", "FULL"])(
    "rows of 8 MB fold, and a large value that the log does not repeat is kept (%s)",
    async (identity) => {
      const large = (seed: string): string =>
        `(SELECT string_agg(md5('${seed}' || i), '') FROM generate_series(1, ${LARGE_CHARACTERS / 32}) i)`;
      const documents = table<{ note: string }>("documents");
      await using captured = await capturedDatabase(
        `large_${identity}`,
        [
          "CREATE TABLE public.documents (id int PRIMARY KEY, body text, scan bytea, note text)",
          `ALTER TABLE public.documents REPLICA IDENTITY ${identity}`,
          "CREATE TABLE public.documents_again (LIKE public.documents)",
          `INSERT INTO public.documents VALUES (1, ${large("a")}, NULL, 'old'), (2, 'small', NULL, 'old')`,
        ],
        "public.documents",
        {
          document: stream(documents, {
            events: { NoteChanged: updated(documents, changed("note")) },
            otherwise: "Amended",
          }),
        },
      );
      await captured.capture.catchUp();
      await captured.write(
        "UPDATE public.documents SET note = 'new' WHERE id = 1",
        `UPDATE public.documents SET body = ${large("b")} WHERE id = 2`,
        `INSERT INTO public.documents VALUES (3, NULL, convert_to(${large("c")}, 'UTF8'), 'old')`,
        // The large values are unchanged in the log, once behind their insert in the same transaction.
        "BEGIN; UPDATE public.documents SET note = 'newer' WHERE id > 1; UPDATE public.documents SET note = NULL, id = 4 WHERE id = 3; COMMIT",
        "UPDATE public.documents SET body = NULL WHERE id = 1",
      );
      await captured.capture.catchUp();
      const folded = (await captured.capture.fold("document")).flatMap(({ state }) => [
        ...(state.get("document")?.values() ?? []),
      ]);
      await expectSameRows(
        captured.db.url,
        "public.documents",
        "public.documents_again",
        ["id", "body", "scan", "note"],
        folded,
      );
      expect((await captured.capture.verify()).state).toBe("equal");
    },
  );

  test("names of schemas, tables and columns may hold anything", async () => {
    const schema = 'odd "Schema". of, it\\s';
    const [parent, line] = ["Order's.Table", "line\\items"];
    const names = ["id", ...AWKWARD_NAMES];
    const full = (relation: string): string => `${q(schema)}.${q(relation)}`;
    const config = (relation: string): string => `${c(schema)}.${c(relation)}`;
    const parents = table<Record<string, string>>(config(parent));
    const lines = table<Record<string, string>>(config(line));
    const columns = AWKWARD_NAMES.map((name) => `${q(name)} text`).join(", ");
    await using captured = await capturedDatabase(
      "names",
      [
        `CREATE SCHEMA ${q(schema)}`,
        `CREATE TABLE ${full(parent)} (id int, ${columns}, PRIMARY KEY (id, "Mixed Case"))`,
        `CREATE TABLE ${full("again")} (LIKE ${full(parent)})`,
        `CREATE TABLE ${full(line)} (no int PRIMARY KEY, "the order" int, "its Case" text)`,
        `INSERT INTO ${full(parent)} VALUES (1, ${AWKWARD_NAMES.map((_, i) => `'v${i}'`).join(", ")})`,
        `INSERT INTO ${full(line)} VALUES (1, 1, 'v1')`,
      ],
      `${full(parent)}, ${full(line)}`,
      {
        thing: stream(parents, {
          children: {
            'lines, of "it"': child(lines, { "its Case": "Mixed Case", "the order": "id" }),
          },
          events: {
            "Thing made": inserted(parents, { with: [lines] }),
            'Order "changed"': updated(parents, changed("order", "constructor")),
          },
          otherwise: "Amended",
        }),
      },
    );
    await captured.capture.catchUp();
    await captured.write(
      `BEGIN; INSERT INTO ${full(parent)} VALUES (2, ${AWKWARD_NAMES.map((_, i) => `'w${i}'`).join(", ")});
       INSERT INTO ${full(line)} VALUES (2, 2, 'w1'), (3, 2, 'w1'); COMMIT`,
      ...AWKWARD_NAMES.map(
        (name) => `UPDATE ${full(parent)} SET ${q(name)} = ${q(name)} || '!' WHERE id = 1`,
      ),
      `UPDATE ${full(line)} SET "its Case" = 'v1!' WHERE no = 1`,
    );
    await captured.capture.catchUp();
    const folded = await captured.capture.fold("thing");
    const rowsOf = (role: string) =>
      folded.flatMap(({ state }) => [...(state.get(role)?.values() ?? [])]);
    await expectSameRows(captured.db.url, full(parent), full("again"), names, rowsOf("thing"));
    expect(rowsOf('lines, of "it"')).toHaveLength(3);
    expect(await captured.capture.verify()).toMatchObject({ state: "equal", compared: 5 });
  });

  test("a table of the schema public may be named alone, with a dot in its name", async () => {
    await using captured = await capturedDatabase(
      "dotted",
      [`CREATE TABLE public."a.b" (id int PRIMARY KEY)`, `INSERT INTO public."a.b" VALUES (1)`],
      `public."a.b"`,
      { thing: stream(table("a\\.b"), { otherwise: "Amended" }) },
    );
    await captured.capture.catchUp();
    await captured.write(`INSERT INTO public."a.b" VALUES (2)`);
    await captured.capture.catchUp();
    expect([...(await foldedRows(captured.capture, "thing")).values()]).toHaveLength(2);
  });
});
