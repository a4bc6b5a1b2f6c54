import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import {
  onSession,
  sourceDatabase,
  type SourceDatabase,
} from "../connectors/postgres/source-support.ts";
import { MatrixTable, typesOf } from "../connectors/postgres/type-matrix-support.ts";
import { openPostgresRowSampler } from "../../connectors/postgres/row-sampler.ts";
import { neverHolds } from "../../src/laws/canonical-value.ts";
import { cellSource } from "../../src/laws/cell-values.ts";
import { lawStreams, type LawStream } from "../../src/laws/law-tables.ts";
import { tryLaws, type LawReport } from "../../src/laws/try-laws.ts";
import { compileMapping, type Mapping } from "../../src/mapping/compile.ts";
import {
  becomes,
  changed,
  stream,
  table,
  updated,
  type StreamRef,
} from "../../src/mapping/rules.ts";
import { CODECS } from "../../src/model/codec.ts";
import type { Cells, SourceTable } from "../../src/model/table.ts";

/*
 * The laws are only worth something when they are tried on values that the server has: what is made is
 * what it would write, and what it has is tried, of whatever type.
 */

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 2 ** 31);
const NO_SIGNAL = new AbortController().signal;

/** The mapping of real tables, with up to so many of their rows. */
async function sampled(
  db: SourceDatabase,
  streams: Readonly<Record<string, StreamRef>>,
  rowsMax = 1_000,
): Promise<{ mapping: Mapping; laws: readonly LawStream[]; tables: readonly SourceTable[] }> {
  const names = Object.values(streams).map(({ root }) => ({ name: root.name }));
  const tables = await db.open().discover(names);
  const mapping = compileMapping(streams, tables);
  const sampler = openPostgresRowSampler({ url: db.url });
  try {
    const samples = await sampler.sample(tables, { rowsMax, budgetMs: 10_000 }, NO_SIGNAL);
    return { mapping, laws: lawStreams(mapping, samples), tables };
  } finally {
    await sampler.close();
  }
}

function tried(mapping: Mapping, laws: readonly LawStream[], runs: number): Promise<LawReport> {
  return tryLaws(mapping, laws, { seed: SEED, runs, timeMsMax: 60_000, showValues: true });
}

/** Types of which values are made. */
// prettier-ignore
const MADE = [
  "int2", "int4", "int8", "numeric", "numeric(10,2)", "numeric(3,3)", "numeric(5,0)", "float4", "float8", "bool", "text",
  "varchar(3)", "varchar", "char(5)", "char(1)", "bytea", "uuid", "date", "time", "time(2)", "timestamp", "timestamp(3)", "timestamptz",
  "timestamptz(0)", "interval", "json", "jsonb", "inet", "int4[]", "numeric(6,1)[]", "text[]", "uuid[]", "bpchar", "mood", "price", "grade",
];

describe("what is made", () => {
  let db: SourceDatabase;
  beforeAll(async () => {
    db = await sourceDatabase(
      "law_values",
      `CREATE TYPE mood AS ENUM ('ok', 'so, so', ''); CREATE DOMAIN price AS numeric(8,2);
       CREATE DOMAIN grade AS varchar(2) CHECK (VALUE IN ('a', 'bb'));
       CREATE TABLE made (id int PRIMARY KEY, ${MADE.map((type, i) => `c${i} ${type}`).join(", ")},
                          must text NOT NULL, listed int NOT NULL CHECK (listed IN (1, 20)))`,
    );
  });
  afterAll(() => db[Symbol.asyncDispose]());

  test("is what the server would write, value by value", async () => {
    const { laws } = await sampled(db, { made: stream(table("made"), { otherwise: "Amended" }) });
    const about = laws[0]!.tables[0]!;
    const columns = about.table.columns.map((_, column) => cellSource(about, column));
    const rows = fc.sample(fc.tuple(...columns.map(({ any }) => any)), {
      seed: SEED,
      numRuns: 400,
    });
    const simple = Array.from({ length: 12 }, (_, i) =>
      columns.map(({ simple: pool }) => pool[i % pool.length]!),
    );
    const made = [...rows, ...simple].map((row, i): Cells => [String(i), ...row.slice(1)]);
    const types = ["int4", ...MADE, "text", "int4"];
    await onSession(
      db.url,
      made.map((row) => {
        const values = row.map((cell, i) =>
          cell === null
            ? "NULL"
            : `'${cell!.replaceAll("'", "''")}'::${types[i]!.replace(/^(mood|price|grade)$/, "public.$1")}`,
        );
        return `INSERT INTO public.made VALUES (${values.join(", ")})`;
      }),
    );
    const { laws: again } = await sampled(db, { made: stream(table("made"), { otherwise: "A" }) });
    const stored = again[0]!.tables[0]!.samples;
    expect(stored.length).toBe(made.length);
    const byId = (a: Cells, b: Cells): number => Number(a[0]) - Number(b[0]);
    const otherwise = stored
      .toSorted(byId)
      .flatMap((row, n) =>
        row.flatMap((cell, i) =>
          cell === made[n]![i] ? [] : [{ type: types[i], made: made[n]![i], stored: cell }],
        ),
      );
    expect(otherwise.slice(0, 5), `seed ${SEED}`).toEqual([]);
    // Within what the catalogue says.
    for (const row of made) {
      expect(row[columns.length - 2]).not.toBeNull();
      expect(["1", "20"]).toContain(row[columns.length - 1]);
    }
  });
});

test("a row that a constraint of the database refuses proves nothing", async () => {
  const ddl = `
    CREATE TABLE bills (id int PRIMARY KEY, status text NOT NULL CHECK (status IN ('open', 'paid')), paid_on date,
                        CONSTRAINT paid_has_date CHECK (status <> 'paid' OR paid_on IS NOT NULL))`;
  type Bill = { status: "open" | "paid"; paid_on: string | null };
  const bills = table<Bill>("bills");
  const streams = (year: (row: Bill) => string) => ({
    bill: stream(bills, {
      events: {
        Paid: updated(bills, { status: becomes("paid") }, { where: (now) => year(now) > "2000" }),
      },
      otherwise: "Amended",
    }),
  });
  await using db = await sourceDatabase("law_checks", ddl);
  const sampler = openPostgresRowSampler({ url: db.url });
  const found = async (year: (row: Bill) => string) => {
    const { mapping, laws } = await sampled(db, streams(year));
    const { findings } = await tryLaws(mapping, laws, {
      seed: SEED,
      runs: 200,
      timeMsMax: 60_000,
      showValues: true,
      refusedBy: (about, rows) => sampler.refusedBy(about, rows),
    });
    return findings.map(({ severity, code, law }) => [severity, code, law]);
  };
  try {
    // Of a paid bill there is always a date, and the database sees to that.
    expect(await found(({ paid_on: on }) => on!.slice(0, 4))).toEqual([
      ["warning", "rule-throws", undefined],
    ]);
    expect(await found(({ paid_on: on }) => on!.replace("-", "").at(99)!.trim())).toEqual([
      ["error", "rule-throws", "totality"],
    ]);
  } finally {
    await sampler.close();
  }
});

describe("awkward types", () => {
  let db: SourceDatabase;
  let names: readonly string[];
  beforeAll(async () => {
    const { types, ddl } = await typesOf(inject("pgUrl"));
    const matrix = MatrixTable.scalarsAndArrays(types, "full");
    names = matrix.map(({ name }) => name);
    db = await sourceDatabase("law_types");
    await onSession(db.url, [
      ...ddl,
      ...matrix.map((each) => each.ddl("FULL")),
      ...matrix.flatMap((each) => [
        ...Array.from({ length: each.rows }, (_, k) => each.insert(k, k)),
        each.insertNulls(900),
      ]),
    ]);
  });
  afterAll(() => db[Symbol.asyncDispose]());

  test("of real rows break no law", async () => {
    const streams = Object.fromEntries(
      names.map((name) => [
        name,
        stream(table<Record<string, unknown>>(name), {
          events: {
            Some: updated(table<Record<string, unknown>>(name), changed("c1", "c5", "c9")),
            Made: updated(table<Record<string, unknown>>(name), changed("c2", "c10", "c20"), {
              transform: {
                columns: ["c2", "c10", "c20"],
                to: ({ c2, c10, c20 }) => ({ all: [c2, c10, c20] }),
                from: (data) => {
                  const [c2, c10, c20] = data["all"] as unknown[];
                  return { c2, c10, c20 };
                },
              },
            }),
          },
          otherwise: "Amended",
        }),
      ]),
    );
    const { mapping, laws } = await sampled(db, streams);
    const { findings, streams: each } = await tried(mapping, laws, 20);
    expect(findings, `seed ${SEED}`).toEqual([]);
    for (const { rows, changes, cut } of each) {
      expect(rows).toBeGreaterThan(5);
      expect(changes).toBeGreaterThan(1_000);
      expect(cut).toBeUndefined();
    }
  });

  test("no value that the server has is called one that never is", async () => {
    const streams = Object.fromEntries(
      names.map((name) => [name, stream(table(name), { otherwise: "Amended" })]),
    );
    const { laws } = await sampled(db, streams);
    for (const { table: about, samples, domains } of laws.flatMap(({ tables }) => tables)) {
      for (const row of samples) {
        for (const [i, cell] of row.entries()) {
          const column = about.columns[i]!;
          const value: unknown =
            cell === null ? null : JSON.parse(CODECS[column.codec].toJson(cell!));
          expect(neverHolds(column, domains[i]!, value, cell)).toBeUndefined();
        }
      }
    }
  });

  test("an inverse that fails for a value of a real row is found, and its story is short", async () => {
    const scalars = names[0]!;
    const { laws: found } = await sampled(db, {
      all: stream(table(scalars), { otherwise: "Amended" }),
    });
    const { table: shape } = found[0]!.tables[0]!;
    const circle = shape.columns.find(({ type }) => type === "circle")!.name;
    const row = table<Record<string, unknown>>(scalars);
    const streams = {
      all: stream(row, {
        events: {
          Moved: updated(row, changed(circle), {
            transform: {
              columns: [circle],
              to: (now) => ({ radius: /,([\d.]+)>$/.exec(String(now[circle]))?.[1] }),
              from: (data) => ({
                [circle]:
                  data["radius"] === undefined ? null : `<(1,1),${data["radius"] as string}>`,
              }),
            },
          }),
        },
        otherwise: "Amended",
      }),
    };
    const { mapping, laws } = await sampled(db, streams);
    const { findings } = await tried(mapping, laws, 0);
    expect(findings).toMatchObject([
      { code: "inverse-does-not-hold", rule: "Moved", column: circle, table: `public.${scalars}` },
    ]);
    const { story } = findings[0]!;
    expect(story!.length).toBe(7);
    expect(story!.slice(2)).toEqual([
      `then UPDATE public.${scalars} where id 0: ${circle} NULL → '<(0,0),0.1>'`,
      '  "to" of Moved makes {"radius":"0.1"}',
      `  "from" of Moved makes of that {"${circle}":"<(1,1),0.1>"}`,
      `  the row has ${circle} '<(0,0),0.1>', the fold would give '<(1,1),0.1>'`,
      "  so this change would wait in quarantine, and its stream with it",
    ]);
  });
});
