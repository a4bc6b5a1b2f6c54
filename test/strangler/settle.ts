import type { TestDatabase } from "../support/databases.ts";
import { until, type World } from "./world.ts";

const SETTLE_MS_MAX = 90_000;

/** Waits until nothing is under way any more: no move, nothing to be captured, nothing to be written back. */
export async function settle(world: World): Promise<void> {
  await until("the end of every move", SETTLE_MS_MAX, async () => {
    const { rows } = await world.store.database.query(
      `SELECT 1 FROM banyan.moves WHERE ended_at IS NULL
       UNION ALL SELECT 1 FROM banyan.rollouts WHERE held_until IS NOT NULL`,
    );
    return rows.length === 0;
  });
  await until("the way back of every event", SETTLE_MS_MAX, async () => {
    const behind = await notWrittenBack(world);
    if (behind.length > 0) throw new Error(`these are not in the rows: ${behind.join(", ")}`);
    return true;
  });
}

/** Streams whose newest native event is not in the legacy rows. */
async function notWrittenBack({ store, legacy }: World): Promise<readonly string[]> {
  const newest = await versions(
    store.database,
    "SELECT stream_id, max(version) AS version FROM banyan.events WHERE origin = 'native' GROUP BY 1",
  );
  if (newest.size === 0) return [];
  const applied = await versions(
    legacy.database,
    "SELECT stream_id, version FROM banyan_reverse.applied",
  );
  return [...newest]
    .filter(([stream, version]) => (applied.get(stream) ?? 0) < version)
    .map(([stream, version]) => `${stream} ${version}`);
}

async function versions(database: TestDatabase, sql: string): Promise<Map<string, number>> {
  const rows = (await database.query(sql)).rows as { stream_id: string; version: number }[];
  return new Map(rows.map(({ stream_id, version }) => [stream_id, version]));
}
