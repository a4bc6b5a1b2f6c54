import pg from "pg";
import { parseQualifiedName } from "../../src/model/table.ts";
import type {
  ColumnFacts,
  DatabaseFacts,
  ForeignKey,
  TableFacts,
} from "../../src/source/database-facts.ts";

/** What traffic did; a test that goes by it must have done something. */
export interface Traffic {
  readonly done: number;
  /** Refused by a constraint, as an application's mistakes are. */
  readonly refused: number;
}

/** A generator of numbers from 0 to 1 that gives the same ones for the same seed. */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Random INSERT, UPDATE and DELETE on tables of any shape, in transactions of a few statements, some
 * rolled back. Rows refer to rows that there are; values are such as the column may hold.
 */
export async function writeRandomly(
  url: string,
  facts: DatabaseFacts,
  transactions: number,
  random: () => number,
): Promise<Traffic> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  const traffic = { done: 0, refused: 0 };
  try {
    await client.query("SELECT setseed($1)", [random()]);
    for (let i = 0; i < transactions; i++) {
      await client.query("BEGIN");
      for (let n = 1 + Math.floor(random() * 4); n > 0; n--) {
        await client.query("SAVEPOINT s");
        try {
          const { rowCount } = await client.query(statement(facts, random));
          traffic.done += rowCount ?? 0;
        } catch (error) {
          if (!isMistake(error)) throw error;
          traffic.refused++;
          await client.query("ROLLBACK TO SAVEPOINT s");
        }
      }
      await client.query(random() < 0.1 ? "ROLLBACK" : "COMMIT").catch((error: unknown) => {
        // A deferred constraint is checked here.
        if (!isMistake(error)) throw error;
      });
    }
  } finally {
    await client.end();
  }
  return traffic;
}

/** Values out of range, and what a constraint refuses. */
function isMistake(error: unknown): boolean {
  return /^(22|23)/.test((error as pg.DatabaseError).code ?? "");
}

function statement(facts: DatabaseFacts, random: () => number): string {
  const writable = facts.tables.filter(({ kind }) => kind !== "foreign");
  const table = pick(writable, random);
  const at = random();
  if (at < 0.35) return insertInto(table, facts, random);
  const some = `ctid IN (SELECT ctid FROM ${quoted(table)} ORDER BY random() LIMIT ${1 + Math.floor(random() * 3)})`;
  // Of a partitioned table a place is a place in one partition.
  const where = `${some} AND tableoid = (SELECT tableoid FROM ${quoted(table)} LIMIT 1)`;
  if (at < 0.45) return `DELETE FROM ${quoted(table)} WHERE ${where}`;
  const sets = chosen(table.columns, random)
    .filter(({ default: given }) => given !== "identity")
    // Keys change too, now and then.
    .filter(({ name }) => !table.primaryKey.includes(name) || random() < 0.2)
    .map((column) => `${ident(column.name)} = ${valueOf(column, table, facts, random)}`);
  return sets.length === 0
    ? `SELECT FROM ${quoted(table)} LIMIT 0`
    : `UPDATE ${quoted(table)} SET ${sets.join(", ")} WHERE ${where}`;
}

function insertInto(table: TableFacts, facts: DatabaseFacts, random: () => number): string {
  const columns = table.columns.filter(
    ({ default: given }) => given !== "identity" && (given === undefined || random() < 0.6),
  );
  const own = facts.foreignKeys.filter(
    (key) =>
      key.table === table.table.name &&
      facts.tables.some((one) => one.table.name === key.references),
  );
  const joins = own.map((key, i) => `LEFT JOIN ${rowOf(key, facts)} p${i} ON true`);
  const values = columns.map((column) => {
    const at = own.findIndex((key) => key.columns.includes(column.name));
    if (at < 0) return valueOf(column, table, facts, random);
    const referred = own[at]!.referencedColumns[own[at]!.columns.indexOf(column.name)]!;
    return `p${at}.${ident(referred)}`;
  });
  if (columns.length === 0) return `INSERT INTO ${quoted(table)} DEFAULT VALUES`;
  return `INSERT INTO ${quoted(table)} (${columns.map(({ name }) => ident(name)).join(", ")})
          SELECT ${values.join(", ")} FROM (SELECT 1) one ${joins.join(" ")}`;
}

function rowOf({ references }: ForeignKey, facts: DatabaseFacts): string {
  const target = facts.tables.find(({ table }) => table.name === references)!;
  return `(SELECT * FROM ${quoted(target)} ORDER BY random() LIMIT 1)`;
}

/** An expression of the column's type. */
function valueOf(
  column: ColumnFacts,
  table: TableFacts,
  facts: DatabaseFacts,
  random: () => number,
): string {
  const { type, allowed, nullable, name } = column;
  if (nullable && random() < 0.15) return "NULL";
  const key = facts.foreignKeys.find(
    (one) => one.table === table.table.name && one.columns.includes(name),
  );
  if (key !== undefined) {
    const target = facts.tables.find((one) => one.table.name === key.references);
    const referred = key.referencedColumns[key.columns.indexOf(name)]!;
    return target === undefined
      ? "NULL"
      : `(SELECT ${ident(referred)} FROM ${quoted(target)} ORDER BY random() LIMIT 1)`;
  }
  if (allowed !== undefined && allowed.length > 0)
    return `'${pick(allowed, random).replaceAll("'", "''")}'`;
  const bare = type.replace(/\(.*\)/, "");
  const n = Math.floor(random() * 1_000);
  switch (bare) {
    case "int2":
    case "int4":
    case "int8":
    case "numeric":
    case "float4":
    case "float8":
    case "money":
      return String(n);
    case "bool":
      return random() < 0.5 ? "true" : "false";
    case "text":
    case "varchar":
      // A key is a part of the stream's id, whose length has a limit.
      return random() < 0.05 && !isKey(table, name) ? `repeat('long ${n} ', 900)` : `'v${n}'`;
    case "bpchar":
      return `'${String(n).slice(0, 1)}'`;
    case "date":
      return `date '2026-01-01' + ${n % 360}`;
    case "timestamptz":
    case "timestamp":
      return `'2026-01-01 00:00:00.123456'::${bare} + interval '${n} hours'`;
    case "uuid":
      return "gen_random_uuid()";
    case "json":
    case "jsonb":
      return `'{"n": ${n}, "é": [1.50, null]}'`;
    case "bytea":
      return `'\\x00ff${String(n).padStart(4, "0")}'`;
    case "interval":
      return `interval '${n} minutes'`;
    case "inet":
      return `'10.0.0.${n % 250}'`;
    default:
      return `(SELECT ${ident(name)} FROM ${quoted(table)} ORDER BY random() LIMIT 1)`;
  }
}

function isKey({ primaryKey, uniqueKeys }: TableFacts, column: string): boolean {
  return [primaryKey, ...uniqueKeys].some((key) => key.includes(column));
}

function chosen<T>(items: readonly T[], random: () => number): readonly T[] {
  const some = items.filter(() => random() < 0.3);
  return some.length > 0 ? some : [pick(items, random)];
}

function pick<T>(items: readonly T[], random: () => number): T {
  return items[Math.floor(random() * items.length)]!;
}

function quoted({ table }: TableFacts): string {
  const { schema, relation } = parseQualifiedName(table.name);
  return `${ident(schema)}.${ident(relation)}`;
}

function ident(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}
