import type { Ask } from "./catalogue.ts";
import type { SourceLoad } from "../../src/source/change-source.ts";

/** Other roles' sessions show neither what they are nor what they do to a role without pg_read_all_stats. */
const LOAD = `
  SELECT CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') THEN
           (SELECT count(*) FROM pg_stat_activity
             WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid() AND application_name <> $1)
         END::int AS active,
         (SELECT extract(epoch FROM max(replay_lag)) FROM pg_stat_replication
           WHERE pid NOT IN (SELECT active_pid FROM pg_replication_slots WHERE slot_type = 'logical' AND active_pid IS NOT NULL))::float8 AS lag,
         CASE WHEN NOT pg_is_in_recovery() THEN pg_snapshot_xmax(pg_current_snapshot())::text END AS begun`;

/** @param applicationName whose sessions do not count: our own */
export async function readLoad(ask: Ask, applicationName: string): Promise<SourceLoad> {
  const [row] = await ask<{ active: number | null; lag: number | null; begun: string | null }>(
    "asking for the load of the source",
    LOAD,
    [applicationName],
  );
  return {
    activeSessions: row!.active ?? undefined,
    standbyLagSeconds: row!.lag ?? undefined,
    transactionsBegun: row!.begun === null ? undefined : Number(row!.begun),
  };
}
