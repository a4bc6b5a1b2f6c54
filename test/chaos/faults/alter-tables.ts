import type pg from "pg";
import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, type Random } from "../random.ts";
import { inSession, persist } from "../session.ts";

const TABLES = ["customers", "orders", "order_lines", "products"] as const;
const HEARD_MS_MAX = 20_000;
/** Of an added column; each is text in events, too. */
const TYPES = ["text", "varchar(60)", "numeric(12,2)"] as const;

/**
 * Alters tables under traffic: columns come, are written to, get another name or a wider type, and go;
 * the log tells more or less of old rows, a table is rewritten, an index built, a change of schema rolled back. The audit triggers follow in
 * the same transaction.
 */
export const alterTables: Fault = {
  name: "tables altered",
  needs: ["schema"],
  async run(world, random, signal) {
    const { source, captures } = world;
    // The audit compares the baseline's rows column by column.
    if ((await world.phase()) !== "tail") return didNot("not yet: there is no baseline");
    const captured = world.captured();
    const table = oneOf(
      random,
      TABLES.filter((name) => captured.includes(name)),
    );
    // Rows that are being read under one snapshot must not be rewritten.
    using _ = captures.explain("SOURCE_NOT_READY", HEARD_MS_MAX);
    const done = await persist(signal, () =>
      inSession(source.url, (client) => alter(client, table, random)),
    );
    return done === undefined
      ? didNot(`${table}: given up, others were in the way`)
      : did(`${table}: ${done}`);
  },
};

async function alter(client: pg.Client, table: string, random: Random): Promise<string> {
  const { rows } = await client.query<{ name: string; type: string }>(
    `SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute
      WHERE attrelid = $1::regclass AND attname LIKE 'extra%' AND NOT attisdropped ORDER BY attnum`,
    [table],
  );
  const column = rows.length === 0 ? undefined : oneOf(random, rows);
  const fresh = `extra_${between(random, 1, 999_999)}`;
  const watched = `SELECT audit.watch('${table}')`;
  const dice = random();
  if (column !== undefined && dice < 0.12) {
    await transaction(client, `ALTER TABLE ${table} DROP ${column.name}`, watched);
    return `${column.name} dropped`;
  }
  if (column !== undefined && dice < 0.24) {
    await transaction(client, `ALTER TABLE ${table} RENAME ${column.name} TO ${fresh}`, watched);
    return `${column.name} renamed to ${fresh}`;
  }
  if (column?.type.startsWith("character varying") === true && dice < 0.36) {
    await transaction(client, `ALTER TABLE ${table} ALTER ${column.name} TYPE text`, watched);
    return `${column.name} made wider`;
  }
  if (table !== "products" && dice < 0.5) {
    const identity = random() < 0.5 ? "FULL" : "DEFAULT";
    await client.query(`ALTER TABLE ${table} REPLICA IDENTITY ${identity}`);
    return `the log tells ${identity === "FULL" ? "whole old rows" : "old keys only"}`;
  }
  if (dice < 0.6) {
    await client.query(`VACUUM FULL ${table}`);
    return "rewritten";
  }
  const type = oneOf(random, TYPES);
  const add = `ALTER TABLE ${table} ADD ${fresh} ${type}`;
  const some = `UPDATE ${table} SET ${fresh} = ${between(random, 1, 9)} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ${table} LIMIT 40))`;
  if (dice < 0.7) {
    await transaction(client, add, watched, some, "ROLLBACK");
    return `${fresh} added and rolled back`;
  }
  // The log shows a table in two shapes within one transaction.
  const before = `UPDATE ${table} SET ${keyOf(table)} = ${keyOf(table)} WHERE ctid = ANY (ARRAY(SELECT ctid FROM ${table} LIMIT 3))`;
  await transaction(client, before, add, watched, some);
  return `${fresh} ${type} added and written to`;
}

function keyOf(table: string): string {
  return table === "products" ? "sku" : table === "order_lines" ? "line_no" : "id";
}

async function transaction(client: pg.Client, ...statements: readonly string[]): Promise<void> {
  await client.query(["BEGIN", ...statements, "COMMIT"].join(";\n"));
}
