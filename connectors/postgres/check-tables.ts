import type { Finding } from "../../src/source/change-source.ts";
import { hasUsableIdentity, type CatalogueEntry, type Leaf } from "./catalogue.ts";
import type { TableRights } from "./check.ts";
import { quoteIdentifier, quoteTable } from "./identifiers.ts";

/** True when the log can hold changes of it, once the SQL of its own findings has been run. */
export function isCapturable({ kind, leaves }: CatalogueEntry): boolean {
  return (kind === "r" || kind === "p") && leaves.every(({ persistence }) => persistence !== "t");
}

/** One planned table: what it is, who may read it, and how its changes name their row. */
export function* checkTable(
  entry: CatalogueEntry,
  plannedKey: readonly string[] | undefined,
  rights: TableRights,
  role: string,
): Generator<Finding> {
  const { table, kind } = entry;
  const of = (
    severity: Finding["severity"],
    code: string,
    message: string,
    mend?: string,
  ): Finding => ({
    severity,
    code,
    table: table.name,
    message,
    ...(mend === undefined ? {} : { mend }),
  });

  if (kind !== "r" && kind !== "p") {
    yield of(
      "error",
      "not-a-table",
      `${table.name} is ${KINDS[kind] ?? "no table"}: the log has no changes of it`,
    );
    return;
  }
  const temporary = entry.leaves.some(({ persistence }) => persistence === "t");
  const unlogged = entry.leaves.filter(({ persistence }) => persistence === "u");
  if (temporary)
    yield of(
      "error",
      "table-temporary",
      `${table.name} is temporary: the log has no changes of it`,
    );
  if (unlogged.length > 0) {
    const mend = unlogged.map((leaf) => `ALTER TABLE ${quoteTable(leaf)} SET LOGGED;`).join(" ");
    yield of(
      "error",
      "table-unlogged",
      `${table.name} is unlogged: the log has no changes of it`,
      mend,
    );
  }
  if (!rights.schemaUsage || !rights.select) {
    const grants = [
      ...(rights.schemaUsage
        ? []
        : [`GRANT USAGE ON SCHEMA ${quoteIdentifier(table.schema)} TO ${quoteIdentifier(role)};`]),
      ...(rights.select
        ? []
        : [`GRANT SELECT ON ${quoteTable(table)} TO ${quoteIdentifier(role)};`]),
    ];
    yield of(
      "error",
      "select-missing",
      `role ${role} may not read ${table.name}`,
      grants.join(" "),
    );
  }
  if (rights.rowsHidden) {
    const mend = `ALTER ROLE ${quoteIdentifier(role)} BYPASSRLS;`;
    yield of(
      "error",
      "row-security",
      `row-level security would hide rows of ${table.name} from role ${role}`,
      mend,
    );
  }
  yield* checkIdentity(entry, plannedKey, of);
  yield* checkVirtual(entry, of);
  if (kind === "p") {
    yield of(
      "info",
      "partition-changes",
      `ATTACH and DETACH of a partition of ${table.name}, and TRUNCATE of one alone, are not in the log: run banyan verify after one`,
    );
  }
  if (entry.generatedLeftOut.length > 0) {
    const list = entry.generatedLeftOut.join(", ");
    yield of(
      "info",
      "generated-left-out",
      `generated columns of ${table.name} are not in the log and are left out: ${list}`,
    );
  }
}

const KINDS: Readonly<Record<string, string>> = {
  v: "a view",
  m: "a materialized view",
  f: "a foreign table",
};

type Report = (
  severity: Finding["severity"],
  code: string,
  message: string,
  mend?: string,
) => Finding;

function* checkIdentity(
  entry: CatalogueEntry,
  plannedKey: readonly string[] | undefined,
  of: Report,
): Generator<Finding> {
  const { table } = entry;
  const columns = new Set(table.columns.map(({ name }) => name));
  const key = table.key.map((index) => table.columns[index]!.name);
  const unknown = plannedKey?.filter((name) => !columns.has(name)) ?? [];
  if (unknown.length > 0) {
    yield of(
      "error",
      "key-column-missing",
      `${table.name} has no column ${unknown.join(", ")}, which the config names as key`,
    );
  } else if (key.length === 0) {
    yield of(
      "error",
      "key-missing",
      `${table.name} has no primary key: name the columns that identify a row as \`key\` in the config`,
    );
  }
  if (!hasUsableIdentity(entry)) {
    const lacking = entry.leaves.filter(({ identityColumns }) => identityColumns.length === 0);
    yield of(
      "error",
      "replica-identity",
      `${table.name} has no usable replica identity: once it is published, the application's own UPDATE and DELETE fail`,
      identityFull(lacking),
    );
    return;
  }
  const blind = entry.leaves.filter(({ identityColumns }) =>
    key.some((name) => !identityColumns.includes(name)),
  );
  if (blind.length > 0) {
    yield of(
      "error",
      "key-not-in-identity",
      `the log of ${table.name} would not tell the key (${key.join(", ")}) of a deleted row: its replica identity has other columns`,
      identityFull(blind),
    );
    return;
  }
  yield table.replicaIdentity === "full"
    ? of(
        "info",
        "before-image",
        `${table.name}: the value before a change comes from the log (replica identity full)`,
      )
    : of(
        "info",
        "before-image",
        `${table.name}: the value before a change comes from an image that Banyan keeps of each row (replica identity ${table.replicaIdentity})`,
      );
}

/** The server refuses to publish an old row of which it cannot send a column, and nothing sends a virtual one. */
function* checkVirtual(entry: CatalogueEntry, of: Report): Generator<Finding> {
  const { table, hasPrimaryKey, leaves, virtualColumns } = entry;
  const failing = leaves.filter(({ identityUnsent }) =>
    identityUnsent.some((name) => virtualColumns.includes(name)),
  );
  if (failing.length === 0) return;
  const byKey = failing
    .map((leaf) => `ALTER TABLE ${quoteTable(leaf)} REPLICA IDENTITY DEFAULT;`)
    .join(" ");
  yield of(
    "error",
    "replica-identity-virtual",
    `${table.name}: once it is published, the application's own UPDATE and DELETE fail, because its replica identity has virtual generated columns, which no publication sends: ${virtualColumns.join(", ")}${hasPrimaryKey ? "" : ". Give it a primary key, or an index for REPLICA IDENTITY USING INDEX"}`,
    hasPrimaryKey ? byKey : undefined,
  );
}

/** It does not descend from a partitioned table to its leaves, so each leaf gets its own statement. */
function identityFull(leaves: readonly Leaf[]): string {
  return leaves.map((leaf) => `ALTER TABLE ${quoteTable(leaf)} REPLICA IDENTITY FULL;`).join(" ");
}
