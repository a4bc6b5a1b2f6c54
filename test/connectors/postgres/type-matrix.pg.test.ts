import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import {
  capturedDatabase,
  expectSameRows,
  foldedRows,
  MatrixTable,
  typesOf,
  type CapturedDatabase,
} from "./type-matrix-support.ts";
import type { FoldedRow } from "../../../src/projection/fold.ts";

/*
 * Every kind of value goes four ways: it is there before the baseline, it is inserted after it, it
 * replaces NULL, and it comes back in place of another value. All four must fold to one text, and the
 * text must make a row that is the original byte for byte. With the old row from the log (FULL) and
 * from the kept image (DEFAULT); with plain settings of the database and with odd ones.
 */

const IDENTITIES = ["FULL", "DEFAULT"] as const;
/** First id of each way. */
const WAYS = { baseline: 0, inserted: 100, fromNull: 200, changedBack: 300 } as const;

/** What a database or a role may set, and what must show nowhere. */
const ODD_SETTINGS = {
  DateStyle: "German, DMY",
  IntervalStyle: "sql_standard",
  TimeZone: "Asia/Kathmandu",
  extra_float_digits: "-15",
  bytea_output: "escape",
  standard_conforming_strings: "off",
  client_encoding: "LATIN1",
  search_path: "one, two, public",
  xmloption: "document",
  quote_all_identifiers: "on",
  row_security: "on",
  statement_timeout: "3s",
  default_toast_compression: "pglz",
} as const;

/** Of these a server has what its machine has installed; where there is none, that is said. */
const MONETARY_LOCALES = ["de_DE.UTF-8", "en_US.UTF-8", "en_GB.UTF-8", "ja_JP.UTF-8"];

async function monetaryLocale(captured: CapturedDatabase): Promise<Record<string, string>> {
  for (const name of MONETARY_LOCALES) {
    const known = await captured.write(`SET lc_monetary = '${name}'`).then(
      () => true,
      () => false,
    );
    if (known) return { lc_monetary: name };
  }
  process.stderr.write("type matrix: the server knows no locale with money of its own\n");
  return {};
}

async function capturedMatrix(label: "plain" | "odd", settings: Readonly<Record<string, string>>) {
  const { types, ddl } = await typesOf(inject("pgUrl"));
  const tables = IDENTITIES.flatMap((identity) =>
    MatrixTable.scalarsAndArrays(types, identity.toLowerCase()).map((table) => ({
      table,
      identity,
    })),
  );
  const captured = await capturedDatabase(
    `matrix_${label}`,
    [...ddl, ...tables.map(({ table, identity }) => table.ddl(identity))],
    tables.map(({ table }) => `public.${table.name}`).join(", "),
    Object.fromEntries(tables.map(({ table }) => [table.name, table.stream])),
  );
  const odd = label === "odd" ? await monetaryLocale(captured) : {};
  for (const [name, value] of Object.entries({ ...settings, ...odd })) {
    const set = `SET ${name} = ${name === "search_path" ? value : `'${value}'`}`;
    await captured.write(
      `ALTER DATABASE ${captured.db.name} ${set}`,
      `ALTER ROLE CURRENT_USER IN DATABASE ${captured.db.name} ${set}`,
    );
  }
  return { captured, tables: tables.map(({ table }) => table) };
}

async function write(captured: CapturedDatabase, tables: readonly MatrixTable[]): Promise<void> {
  const rowsOf = (table: MatrixTable): number[] => Array.from({ length: table.rows }, (_, k) => k);
  for (const table of tables) {
    await captured.write(
      ...rowsOf(table).flatMap((k) => [
        table.insert(WAYS.baseline + k, k),
        table.insertNulls(WAYS.fromNull + k),
        table.insert(WAYS.changedBack + k, k),
      ]),
    );
  }
  await captured.capture.catchUp();
  for (const table of tables) {
    await captured.write(
      ...rowsOf(table).flatMap((k) => [
        table.insert(WAYS.inserted + k, k),
        table.update(WAYS.fromNull + k, k),
        table.update(WAYS.changedBack + k, k + 1),
        table.update(WAYS.changedBack + k, k),
      ]),
    );
  }
  await captured.capture.catchUp();
}

for (const [label, settings] of [
  ["plain", {}],
  ["odd", ODD_SETTINGS],
] as const) {
  describe(`values of every type, ${label} settings`, () => {
    let captured: CapturedDatabase;
    let tables: readonly MatrixTable[];

    beforeAll(async () => {
      ({ captured, tables } = await capturedMatrix(label, settings));
      await write(captured, tables);
    });
    afterAll(async () => {
      await captured[Symbol.asyncDispose]();
    });

    test("fold to one text, whichever way they came", async () => {
      for (const table of tables) {
        const rows = await foldedRows(captured.capture, table.name);
        expect(rows.size).toBe(table.rows * 4);
        for (let k = 0; k < table.rows; k++) {
          const valuesOf = (id: number): unknown[] =>
            table.types.map(({ type }, i) => [type, rows.get(id)![`c${i}`]]);
          for (const first of Object.values(WAYS).slice(1))
            expect(valuesOf(first + k)).toEqual(valuesOf(WAYS.baseline + k));
        }
      }
    });

    test("make, as text, rows equal to the original byte for byte", async () => {
      for (const table of tables) {
        const rows = await foldedRows(captured.capture, table.name);
        await expectSameRows(
          captured.db.url,
          `public.${table.name}`,
          `public.${table.name}_again`,
          ["id", ...table.columns()],
          rows.values(),
        );
      }
    });

    test("are found equal by verify, and no table seems to have changed its shape", async () => {
      const report = await captured.capture.verify();
      expect(report).toMatchObject({ state: "equal", missing: 0, extra: 0, different: 0 });
      expect(report.compared).toBe(tables.reduce((sum, table) => sum + table.rows * 4, 0));
      expect(captured.capture.drifts).toEqual([]);
    });

    test("fold to texts that no setting of the database or the role shows in", async () => {
      for (const table of tables) {
        for (const [id, row] of await foldedRows(captured.capture, table.name)) {
          const known = seen.get(`${table.name} ${id}`);
          if (known === undefined) seen.set(`${table.name} ${id}`, row);
          else expect(row).toEqual(known);
        }
      }
      expect(seen.size).toBe(tables.reduce((sum, table) => sum + table.rows * 4, 0));
    });
  });
}

/** Folded rows of the first database, to compare those of the second with. */
const seen = new Map<string, FoldedRow>();
