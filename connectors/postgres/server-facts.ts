import type { Ask } from "./catalogue.ts";

/** What is asked of a server once per use, because it can be another one the next time. */
export interface ServerFacts {
  /** `server_version_num`, e.g. 180004. */
  readonly version: number;
  /** e.g. `18.4`. */
  readonly versionText: string;
  readonly system: string;
  readonly timeline: number;
  readonly database: string;
  readonly inRecovery: boolean;
  /** 0 when turned off. */
  readonly senderTimeoutMs: number;
  /** A recent 64-bit transaction id. */
  readonly xid: string;
}

/**
 * The timeline is that of the log being written; a standby has only that of its last checkpoint.
 */
const FACTS = `
  SELECT current_setting('server_version_num')::int AS version,
         split_part(current_setting('server_version'), ' ', 1) AS "versionText",
         (SELECT system_identifier::text FROM pg_control_system()) AS system,
         CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id FROM pg_control_checkpoint())
              ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int END AS timeline,
         current_database() AS database,
         pg_is_in_recovery() AS "inRecovery",
         (SELECT setting::int FROM pg_settings WHERE name = 'wal_sender_timeout') AS "senderTimeoutMs",
         pg_snapshot_xmax(pg_current_snapshot())::text AS xid`;

export async function readServerFacts(ask: Ask): Promise<ServerFacts> {
  const [facts] = await ask<ServerFacts>("asking the server who it is", FACTS, []);
  return facts!;
}

/** `postgres://<system>/<timeline>/<database>`: which history this is, without address or secret. */
export function identityUri({ system, timeline, database }: ServerFacts): string {
  return `postgres://${system}/${timeline}/${encodeURIComponent(database)}`;
}
