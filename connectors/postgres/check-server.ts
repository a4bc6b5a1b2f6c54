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
  readonly keep_size_mb: number;
  readonly recovery: boolean;
  readonly replication: boolean;
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
         pg_is_in_recovery() AS recovery,
         (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
           OR coalesce(pg_has_role(to_regrole('rds_replication')::oid, 'MEMBER'), false) AS replication`;

/** Below this a garbage collection of either side can end the connection. */
const SENDER_TIMEOUT_MS_MIN = 5_000;

/** Settings of the server and the role's right to replicate. */
export async function checkServer(
  ask: Ask,
  slot: Slot | undefined,
  role: string,
): Promise<readonly Finding[]> {
  const [settings] = await ask<Settings>("checking the server", SETTINGS, []);
  return [...checkSettings(settings!, slot), ...checkRole(settings!, role)];
}

function* checkSettings(settings: Settings, slot: Slot | undefined): Generator<Finding> {
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
        `wal_level is ${settings.wal_level} and must be logical; the server must be restarted after the change`,
      ),
      mend: "ALTER SYSTEM SET wal_level = 'logical';",
    };
  }
  if (slot === undefined && settings.slots >= settings.slots_max) {
    yield {
      ...error(
        "slots-exhausted",
        `all ${settings.slots_max} replication slots are taken; the server must be restarted after the change`,
      ),
      mend: `ALTER SYSTEM SET max_replication_slots = ${settings.slots + 4};`,
    };
  }
  if (slot?.activePid === undefined && settings.senders >= settings.senders_max) {
    yield {
      ...error(
        "senders-exhausted",
        `all ${settings.senders_max} log senders are busy; the server must be restarted after the change`,
      ),
      mend: `ALTER SYSTEM SET max_wal_senders = ${settings.senders + 4};`,
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
      message: `wal_sender_timeout is ${timeoutMs} ms: a short stall ends the connection`,
      mend: "ALTER SYSTEM SET wal_sender_timeout = '60s'; SELECT pg_reload_conf();",
    };
  }
  if (settings.keep_size_mb === -1) {
    yield info(
      "slot-log-unlimited",
      "max_slot_wal_keep_size is unlimited: while the capture is stopped the log grows until the disk is full",
    );
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
