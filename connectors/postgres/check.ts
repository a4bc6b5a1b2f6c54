import { isShort } from "../../src/source/change-source.ts";
import type { CapturePlan, Finding, LogLeft } from "../../src/source/change-source.ts";
import {
  missingOf,
  readTables,
  type Ask,
  type CatalogueEntry,
  type PlannedKeys,
} from "./catalogue.ts";
import { checkParentIndexes } from "./check-index.ts";
import { checkGenerated, checkPublication } from "./check-publication.ts";
import { checkSuperuser } from "./check-role.ts";
import { checkServer } from "./check-server.ts";
import { checkTable, isCapturable } from "./check-tables.ts";
import { quoteLiteral } from "./identifiers.ts";
import { averageLogRate, logLeft } from "./log-left.ts";
import { readPublication } from "./publication.ts";
import { isLost, readSlot, type Slot } from "./slot.ts";

export interface CheckOptions {
  readonly slot: string;
  readonly publication: string;
  readonly applicationName: string;
  readonly keys: PlannedKeys;
}

/** The oldest version whose functions and log messages are used. */
const VERSION_MIN = 130_000;

/**
 * Everything that stands in the way of capturing the planned tables. Changes nothing.
 *
 * Findings come in the order in which their SQL is to be run: server, role, tables, then the
 * publication, because publishing a table without usable identity makes the application's own UPDATE
 * and DELETE fail; the slot last. Only the generated columns that a publication sends come before the
 * tables, because a replica identity that is made FULL has them too.
 */
export async function checkSource(
  options: CheckOptions,
  plan: CapturePlan,
  ask: Ask,
): Promise<readonly Finding[]> {
  const [server] = await ask<{
    version: number;
    text: string;
    role: string;
    superuser: boolean;
    database: string;
  }>(
    "checking the server",
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS text,
            rolname::text AS role, rolsuper AS superuser, current_database()::text AS database
       FROM pg_roles WHERE rolname = current_user`,
    [],
  );
  const { version, text, role, superuser, database } = server!;
  if (version < VERSION_MIN) {
    return [
      error("server-too-old", `the server is PostgreSQL ${text}; version 13 or later is needed`),
    ];
  }
  const names = plan.tables.map(({ name }) => name);
  const entries = await readTables(ask, names, options.publication, options.keys);
  const publication = await readPublication(ask, options.publication);
  const slot = await readSlot(ask, options.slot);
  const findings: Finding[] = [
    ...(await checkServer(ask, slot, role, options.applicationName)),
    ...checkSuperuser(role, superuser, database, entries.filter(isCapturable)),
  ];
  for (const name of missingOf(names, entries)) {
    findings.push({
      ...error("table-missing", `table ${name} does not exist in database ${database}`),
      table: name,
    });
  }
  const rights = await readRights(ask, entries);
  const unindexed = await checkParentIndexes(ask, plan, entries);
  findings.push(...checkGenerated(options.publication, publication, entries));
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
    const scanned = unindexed.get(entry.table.name);
    if (scanned !== undefined) findings.push(scanned);
  }
  findings.push(...checkPublication(options.publication, publication, entries));
  const rate = slot?.safeBytes === undefined ? undefined : await averageLogRate(ask, version);
  findings.push(...checkSlot(options.slot, slot, database, logLeft(slot, rate)));
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

function checkSlot(
  name: string,
  slot: Slot | undefined,
  database: string,
  left: LogLeft | undefined,
): readonly Finding[] {
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
  if (slot.walStatus === "unreserved" || (left !== undefined && isShort(left))) {
    findings.push({
      severity: "warning",
      code: "slot-log-short",
      message: `replication slot ${name} is lost after another ${describeLeft(left ?? { bytes: 0 })}: run the capture, or raise max_slot_wal_keep_size`,
    });
  }
  return findings;
}

function describeLeft({ bytes, seconds }: LogLeft): string {
  const log = `${Math.floor(bytes / (1024 * 1024))} MB of log`;
  if (seconds === undefined) return log;
  const minutes = Math.floor(seconds / 60);
  return `${log}, at the server's average rate in about ${minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`}`;
}

function error(code: string, message: string): Finding {
  return { severity: "error", code, message };
}
