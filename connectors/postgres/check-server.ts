import type { Finding } from "../../src/source/change-source.ts";
import type { Ask } from "./catalogue.ts";
import { quoteIdentifier } from "./identifiers.ts";
import type { Slot } from "./slot.ts";

interface Settings {
  readonly wal_level: string;
  readonly slots: number;
  readonly slots_max: number;
  readonly senders: number;
  readonly senders_max: number;
  readonly encoding: string;
  readonly sender_timeout_ms: number;
  /** Where the values of settings come from, by name: `pg_settings.source`. */
  readonly sources: Readonly<Record<string, string>>;
  readonly database: string;
  readonly keep_size_mb: number;
  readonly recovery: boolean;
  readonly replication: boolean;
  readonly synchronous_standbys: string;
  /** Null before version 18. */
  readonly idle_slot_timeout: string | null;
}

/** On a managed server the right to replicate can be a membership instead of an attribute. */
const SETTINGS = `
  SELECT current_setting('wal_level') AS wal_level,
         (SELECT count(*)::int FROM pg_replication_slots) AS slots,
         current_setting('max_replication_slots')::int AS slots_max,
         (SELECT count(*)::int FROM pg_stat_replication) AS senders,
         current_setting('max_wal_senders')::int AS senders_max,
         current_setting('server_encoding') AS encoding,
         (SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout') AS sender_timeout_ms,
         (SELECT setting::int FROM pg_settings WHERE name = 'max_slot_wal_keep_size') AS keep_size_mb,
         (SELECT json_object_agg(name, source) FROM pg_settings
           WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders', 'wal_sender_timeout')) AS sources,
         current_database()::text AS database,
         current_setting('synchronous_standby_names') AS synchronous_standbys,
         current_setting('idle_replication_slot_timeout', true) AS idle_slot_timeout,
         pg_is_in_recovery() AS recovery,
         (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
           OR coalesce(pg_has_role(to_regrole('rds_replication')::oid, 'MEMBER'), false) AS replication`;

/** Below this a garbage collection of either side can end the connection. */
const SENDER_TIMEOUT_MS_MIN = 5_000;

/**
 * Settings of the server and the role's right to replicate.
 *
 * @param applicationName under which the capture reads the log
 */
export async function checkServer(
  ask: Ask,
  slot: Slot | undefined,
  role: string,
  applicationName = "banyan",
): Promise<readonly Finding[]> {
  const [settings] = await ask<Settings>("checking the server", SETTINGS, []);
  return [...checkSettings(settings!, slot, role, applicationName), ...checkRole(settings!, role)];
}

function* checkSettings(
  settings: Settings,
  slot: Slot | undefined,
  role: string,
  applicationName: string,
): Generator<Finding> {
  if (settings.recovery) {
    yield error(
      "server-standby",
      "the server is a standby, into whose log no mark can be written: give the primary's address",
    );
  }
  if (settings.encoding === "SQL_ASCII") {
    yield error(
      "encoding-unknown",
      "the database's encoding is SQL_ASCII: its text has no known meaning; convert it to UTF8 first",
    );
  }
  if (settings.wal_level !== "logical") {
    yield {
      ...error(
        "wal-level",
        `wal_level is ${settings.wal_level}${placeOf(settings, "wal_level")} and must be logical; the server must be restarted after the change`,
      ),
      ...alterSystem(settings, "wal_level", "'logical'"),
    };
  }
  if (slot === undefined && settings.slots >= settings.slots_max) {
    yield {
      ...error(
        "slots-exhausted",
        `all ${settings.slots_max} replication slots${placeOf(settings, "max_replication_slots")} are taken; the server must be restarted after the change`,
      ),
      ...alterSystem(settings, "max_replication_slots", String(settings.slots + 4)),
    };
  }
  if (slot?.activePid === undefined && settings.senders >= settings.senders_max) {
    yield {
      ...error(
        "senders-exhausted",
        `all ${settings.senders_max} log senders${placeOf(settings, "max_wal_senders")} are busy; the server must be restarted after the change`,
      ),
      ...alterSystem(settings, "max_wal_senders", String(settings.senders + 4)),
    };
  }
  const timeoutMs = settings.sender_timeout_ms;
  if (timeoutMs === 0) {
    yield info(
      "sender-timeout-off",
      "wal_sender_timeout is off: after a broken connection the slot can stay taken until TCP gives up",
    );
  } else if (timeoutMs < SENDER_TIMEOUT_MS_MIN) {
    yield {
      severity: "warning",
      code: "sender-timeout-short",
      message: `wal_sender_timeout is ${timeoutMs} ms${placeOf(settings, "wal_sender_timeout")}: a short stall ends the connection`,
      ...raiseSenderTimeout(settings, role),
    };
  }
  yield* checkBystanders(settings, applicationName);
  if (settings.keep_size_mb === -1) {
    yield info(
      "slot-log-unlimited",
      "max_slot_wal_keep_size is unlimited: while the capture is stopped the log grows until the disk is full",
    );
  }
}

/** Settings meant for others that take the capture in. */
function* checkBystanders(
  { synchronous_standbys: standbys, idle_slot_timeout: idle }: Settings,
  applicationName: string,
): Generator<Finding> {
  const names = standbys.split(/[\s,()]+/).map((name) => name.replaceAll('"', "").toLowerCase());
  if (names.includes("*") || names.includes(applicationName.toLowerCase())) {
    yield {
      severity: "warning",
      code: "counted-as-standby",
      message: `synchronous_standby_names (${standbys}) takes Banyan's reader for a standby: commits of the application would wait for it; name the standbys instead`,
    };
  }
  if (idle !== null && !/^0\D*$/.test(idle)) {
    yield {
      severity: "warning",
      code: "slot-idle-timeout",
      message: `idle_replication_slot_timeout is ${idle}: a capture that is stopped for longer loses its place in the log`,
    };
  }
}

function alterSystem(
  settings: Settings,
  name: string,
  value: string,
): Pick<Finding, "mend"> | undefined {
  if (placeOf(settings, name) !== "") return undefined;
  return { mend: `ALTER SYSTEM SET ${name} = ${value};` };
}

/** Where a value stands that no SQL can change, because it wins over what SQL can set. */
function placeOf({ sources }: Settings, name: string): string {
  switch (sources[name]) {
    case "command line":
      return " (set on the server's command line)";
    case "environment variable":
      return " (set in the server's environment)";
    case "client":
      return " (set in the URL)";
    default:
      return "";
  }
}

/** Of this setting a role and a database can have values of their own, which win over the server's. */
function raiseSenderTimeout(settings: Settings, role: string): Pick<Finding, "mend"> | undefined {
  const name = "wal_sender_timeout";
  const ofRole = `ALTER ROLE ${quoteIdentifier(role)}`;
  const database = quoteIdentifier(settings.database);
  const set = `SET ${name} = '60s';`;
  switch (settings.sources[name]) {
    case "user":
      return { mend: `${ofRole} ${set}` };
    case "database user":
      return { mend: `${ofRole} IN DATABASE ${database} ${set}` };
    case "database":
      return { mend: `ALTER DATABASE ${database} ${set}` };
    default: {
      const system = alterSystem(settings, name, "'60s'");
      return system && { mend: `${system.mend} SELECT pg_reload_conf();` };
    }
  }
}

function* checkRole({ replication }: Settings, role: string): Generator<Finding> {
  if (replication) return;
  yield {
    ...error("role-not-replication", `role ${role} may not replicate`),
    mend: `ALTER ROLE ${quoteIdentifier(role)} REPLICATION;`,
  };
}

function error(code: string, message: string): Finding {
  return { severity: "error", code, message };
}

function info(code: string, message: string): Finding {
  return { severity: "info", code, message };
}
