import type { CapturePlan, Finding } from "../../src/source/change-source.ts";
import {
  missingOf,
  readTables,
  type Ask,
  type CatalogueEntry,
  type PlannedKeys,
} from "./catalogue.ts";
import { checkPublication } from "./check-publication.ts";
import { checkServer } from "./check-server.ts";
import { checkTable } from "./check-tables.ts";
import { quoteLiteral } from "./identifiers.ts";
import { readPublication } from "./publication.ts";
import { isLost, readSlot, type Slot } from "./slot.ts";

export interface CheckOptions {
  readonly slot: string;
  readonly publication: string;
  readonly keys: PlannedKeys;
}

/** The oldest version whose functions and log messages are used. */
const VERSION_MIN = 130_000;
/** Below this much log to go before the server gives the slot up, it is worth a warning. */
const SAFE_BYTES_MIN = 256 * 1024 * 1024;

/**
 * Everything that stands in the way of capturing the planned tables. Changes nothing.
 *
 * Findings come in the order in which their SQL is to be run: server, role, tables, then the
 * publication, because publishing a table without usable identity makes the application's own
 * UPDATE and DELETE fail; the slot last.
 */
export async function checkSource(
  options: CheckOptions,
  plan: CapturePlan,
  ask: Ask,
): Promise<readonly Finding[]> {
  const [server] = await ask<{ version: number; text: string; role: string; database: string }>(
    "checking the server",
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS text,
            current_user::text AS role, current_database()::text AS database`,
    [],
  );
  const { version, text, role, database } = server!;
  if (version < VERSION_MIN) {
    return [
      error("server-too-old", `the server is PostgreSQL ${text}; version 13 or later is needed`),
    ];
  }
  const names = plan.tables.map(({ name }) => name);
  const entries = await readTables(ask, names, options.publication, options.keys);
  const publication = await readPublication(ask, options.publication);
  const slot = await readSlot(ask, options.slot);
  const findings: Finding[] = [...(await checkServer(ask, slot, role))];
  for (const name of missingOf(names, entries)) {
    findings.push({
      ...error("table-missing", `table ${name} does not exist in database ${database}`),
      table: name,
    });
  }
  const rights = await readRights(ask, entries);
  for (const entry of entries) {
    const planned = plan.tables[names.indexOf(entry.table.name)];
    findings.push(
      ...checkTable(
        entry,
        options.keys.get(entry.table.name) ?? planned?.key,
        rights.get(entry.oid)!,
        role,
      ),
    );
  }
  findings.push(...checkPublication(options.publication, publication, entries));
  findings.push(...checkSlot(options.slot, slot, database));
  return findings;
}

/** What the role may do with a table. */
export interface TableRights {
  readonly select: boolean;
  readonly schemaUsage: boolean;
  /** Row-level security would hide rows from this role. */
  readonly rowsHidden: boolean;
}

async function readRights(
  ask: Ask,
  entries: readonly CatalogueEntry[],
): Promise<ReadonlyMap<number, TableRights>> {
  const rows = await ask<TableRights & { oid: string }>(
    "checking the role's rights",
    `SELECT c.oid::int8 AS oid, has_table_privilege(c.oid, 'SELECT') AS select,
            has_schema_privilege(c.relnamespace, 'USAGE') AS "schemaUsage", row_security_active(c.oid) AS "rowsHidden"
       FROM pg_class c WHERE c.oid = ANY ($1::int8[]::oid[])`,
    [entries.map(({ oid }) => oid)],
  );
  return new Map(rows.map((row) => [Number(row.oid), row]));
}

function checkSlot(name: string, slot: Slot | undefined, database: string): readonly Finding[] {
  if (slot === undefined) return [];
  if (slot.plugin !== "pgoutput" || slot.database !== database) {
    const what =
      slot.plugin === null
        ? "a physical slot"
        : `of plugin ${slot.plugin} in database ${slot.database}`;
    return [
      error(
        "slot-foreign",
        `replication slot ${name} exists and is ${what}: choose another name in the config`,
      ),
    ];
  }
  if (isLost(slot)) {
    return [
      {
        ...error(
          "slot-lost",
          `replication slot ${name} is lost (${slot.invalidationReason ?? "its log was removed"}): a new baseline is needed`,
        ),
        mend: `SELECT pg_drop_replication_slot(${quoteLiteral(name)});`,
      },
    ];
  }
  const findings: Finding[] = [
    {
      severity: "info",
      code: "slot-exists",
      message:
        slot.activePid === undefined
          ? `replication slot ${name} exists and is not being read`
          : `replication slot ${name} is being read by process ${slot.activePid}`,
    },
  ];
  const low = slot.safeBytes !== undefined && slot.safeBytes < SAFE_BYTES_MIN;
  if (slot.walStatus === "unreserved" || low) {
    const left = Math.max(0, Math.floor((slot.safeBytes ?? 0) / (1024 * 1024)));
    findings.push({
      severity: "warning",
      code: "slot-log-short",
      message: `replication slot ${name} is lost after another ${left} MB of log: run the capture, or raise max_slot_wal_keep_size`,
    });
  }
  return findings;
}

function error(code: string, message: string): Finding {
  return { severity: "error", code, message };
}
