import type pg from "pg";
import { classifyStore } from "./store-errors.ts";
import type { GateFacts, GateFactsReader, SideTraffic } from "../../src/rollout/gate-facts.ts";
import { NO_TRAFFIC } from "../../src/rollout/gate-facts.ts";

/** A proxy says every second that it is there. */
const PROXY_SILENT_SECONDS = 15;

const OF_TYPE = "LIKE replace(replace(replace($2, '\\', '\\\\'), '_', '\\_'), '%', '\\%') || '-%'";

/**
 * All but traffic, in one row. A clock ahead of the store's makes no report younger than it is there. It is
 * as good as of when what changed since was looked at, which a watch notes in it.
 */
const FACTS = `
  WITH stands AS MATERIALIZED (
         SELECT coalesce((SELECT changed_at FROM banyan.rollouts WHERE pipeline = $1 AND stream_type = $2),
                         clock_timestamp()) AS since)
  SELECT extract(epoch FROM clock_timestamp() - s.since)::float8 AS stands,
         (SELECT jsonb_build_object('state', r.report -> 'state', 'conclusive', r.report -> 'conclusive',
                   'age', extract(epoch FROM clock_timestamp() - greatest(r.swept, least(coalesce((r.report ->> 'checkedAt')::timestamptz, r.swept), clock_timestamp()))),
                   'swept', extract(epoch FROM clock_timestamp() - r.swept))
            FROM (SELECT report, least((report ->> 'finishedAt')::timestamptz, saved_at) AS swept
                    FROM banyan.parity_reports WHERE pipeline = $1) r) AS parity,
         (SELECT count(*)::int FROM banyan.parity_findings f WHERE f.pipeline = $1 AND f.stream_id ${OF_TYPE}) AS findings,
         (SELECT jsonb_object_agg(verdict, n) FROM (
            SELECT verdict, count(*) AS n FROM banyan.shadow_writes w
             WHERE w.pipeline = $1 AND w.stream_type = $2 AND w.asked_at >= s.since GROUP BY verdict) v) AS dual,
         (SELECT jsonb_build_object('lag', p.status -> 'lag' -> 'seconds', 'phase', p.phase,
                   'silent', extract(epoch FROM clock_timestamp() - p.updated_at))
            FROM banyan.pipelines p WHERE p.name = $1) AS capture,
         (SELECT count(DISTINCT q.stream_id)::int FROM banyan.quarantine q JOIN banyan.pipelines p ON p.id = q.pipeline_id
           WHERE p.name = $1 AND q.state = 'pending' AND q.stream_id ${OF_TYPE}) AS quarantined,
         (SELECT jsonb_build_object('lag', lag_seconds, 'silent', extract(epoch FROM clock_timestamp() - updated_at))
            FROM banyan.reverse_progress WHERE pipeline = $1) AS reverse,
         (SELECT count(*)::int FROM banyan.reverse_conflicts c WHERE c.pipeline = $1 AND c.stream_id ${OF_TYPE}) AS conflicts,
         (SELECT count(*)::int FROM banyan.proxies x WHERE x.pipeline = $1 AND x.stream_type = $2
             AND x.seen_at > clock_timestamp() - interval '${PROXY_SILENT_SECONDS} seconds') AS proxies
    FROM stands s`;

/**
 * By side: requests and errors of the moved side since it stands there, within the window; those of legacy
 * within the window. Comparisons are counted at both since it stands there.
 */
const TRAFFIC = `
  WITH stands AS MATERIALIZED (
         SELECT greatest(clock_timestamp() - $3 * interval '1 second',
                  coalesce((SELECT changed_at FROM banyan.rollouts WHERE pipeline = $1 AND stream_type = $2),
                           '-infinity')) AS since)
  SELECT side, sum(requests)::float8 AS requests, sum(errors)::float8 AS errors, sum(compared)::float8 AS compared,
         sum(different)::float8 AS different, sum(uncompared)::float8 AS uncompared, sum(dropped)::float8 AS dropped,
         (SELECT array_agg(total ORDER BY n) FROM (
            SELECT n, sum(count)::float8 AS total
              FROM banyan.traffic u, stands, unnest(u.slower) WITH ORDINALITY AS h(count, n)
             WHERE u.pipeline = $1 AND u.stream_type = $2 AND u.side = t.side
               AND u.second >= CASE u.side WHEN 'new' THEN since ELSE clock_timestamp() - $3 * interval '1 second' END
             GROUP BY n) totals) AS slower
    FROM (SELECT x.side, requests, errors,
                 CASE WHEN second >= since THEN compared ELSE 0 END AS compared,
                 CASE WHEN second >= since THEN different ELSE 0 END AS different,
                 CASE WHEN second >= since THEN uncompared ELSE 0 END AS uncompared,
                 CASE WHEN second >= since THEN dropped ELSE 0 END AS dropped
            FROM banyan.traffic x, stands
           WHERE x.pipeline = $1 AND x.stream_type = $2
             AND second >= CASE x.side WHEN 'new' THEN since ELSE clock_timestamp() - $3 * interval '1 second' END) t
   GROUP BY side`;

const LEGACY_BEFORE = `
  WITH last AS MATERIALIZED (
         SELECT max(second) AS second FROM banyan.traffic WHERE pipeline = $1 AND stream_type = $2 AND side = 'legacy'),
       found AS MATERIALIZED (
         SELECT t.requests, t.errors, t.slower FROM banyan.traffic t, last
          WHERE t.pipeline = $1 AND t.stream_type = $2 AND t.side = 'legacy'
            AND t.second > last.second - interval '1 hour')
  SELECT coalesce(sum(requests), 0)::float8 AS requests, coalesce(sum(errors), 0)::float8 AS errors,
         coalesce((SELECT array_agg(total ORDER BY n) FROM (
            SELECT n, sum(count)::float8 AS total FROM found f, unnest(f.slower) WITH ORDINALITY AS h(count, n)
             GROUP BY n) totals), '{}') AS slower
    FROM found`;

/** The last hour of legacy's answers stays, until there are newer ones. */
const PURGE_TRAFFIC = `
  WITH last AS MATERIALIZED (
         SELECT stream_type, max(second) - interval '1 hour' AS second FROM banyan.traffic
          WHERE pipeline = $1 AND side = 'legacy' GROUP BY stream_type)
  DELETE FROM banyan.traffic t
   WHERE t.pipeline = $1 AND t.second < clock_timestamp() - $2 * interval '1 second'
     AND NOT (t.side = 'legacy' AND EXISTS (
           SELECT FROM last l WHERE l.stream_type = t.stream_type AND t.second > l.second))`;

const PURGE_PROXIES = `
  DELETE FROM banyan.proxies WHERE pipeline = $1 AND seen_at < clock_timestamp() - $2 * interval '1 second'`;

type ParityFacts = NonNullable<GateFacts["parity"]>;

interface FactsRow {
  readonly stands: number;
  readonly parity: {
    readonly state: ParityFacts["state"];
    readonly conclusive: boolean;
    readonly age: number;
    readonly swept: number;
  } | null;
  readonly findings: number;
  readonly dual: Readonly<Record<string, number>> | null;
  readonly capture: {
    readonly lag: number | null;
    readonly phase: string;
    readonly silent: number;
  } | null;
  readonly quarantined: number;
  readonly reverse: { readonly lag: number; readonly silent: number } | null;
  readonly conflicts: number;
  readonly proxies: number;
}

interface TrafficRow extends SideTraffic {
  readonly side: "legacy" | "new";
  readonly compared: number;
  readonly different: number;
  readonly uncompared: number;
  readonly dropped: number;
}

/** Reads what the store has of a stream type, in two statements. */
export class PostgresGateFacts implements GateFactsReader {
  readonly #pool: pg.Pool;
  readonly #pipeline: string;

  /** @param pipeline name of the migration */
  constructor(pool: pg.Pool, pipeline: string) {
    this.#pool = pool;
    this.#pipeline = pipeline;
  }

  async read(type: string, sinceSeconds: number): Promise<GateFacts> {
    try {
      const key = [this.#pipeline, type];
      const facts = await this.#pool.query<FactsRow>(FACTS, key);
      const traffic = await this.#pool.query<TrafficRow>(TRAFFIC, [...key, sinceSeconds]);
      return factsOf(facts.rows[0]!, traffic.rows);
    } catch (error) {
      throw classifyStore(error, `reading what the gates of ${type} look at`);
    }
  }

  async legacyBefore(type: string): Promise<SideTraffic> {
    try {
      const { rows } = await this.#pool.query<SideTraffic>(LEGACY_BEFORE, [this.#pipeline, type]);
      return rows[0]!;
    } catch (error) {
      throw classifyStore(error, `reading what legacy answered of ${type}`);
    }
  }

  async purge(olderThanSeconds: number): Promise<number> {
    try {
      const values = [this.#pipeline, olderThanSeconds];
      const traffic = await this.#pool.query(PURGE_TRAFFIC, values);
      const proxies = await this.#pool.query(PURGE_PROXIES, values);
      return (traffic.rowCount ?? 0) + (proxies.rowCount ?? 0);
    } catch (error) {
      throw classifyStore(error, "throwing away old traffic");
    }
  }
}

function factsOf(row: FactsRow, traffic: readonly TrafficRow[]): GateFacts {
  const { parity, dual, capture, reverse } = row;
  const of = (side: string): TrafficRow | undefined =>
    traffic.find((candidate) => candidate.side === side);
  const all = (name: "compared" | "different" | "uncompared" | "dropped"): number =>
    traffic.reduce((sum, side) => sum + side[name], 0);
  return {
    standsSeconds: row.stands,
    ...(parity === null
      ? {}
      : {
          parity: {
            state: parity.state,
            conclusive: parity.conclusive,
            ageSeconds: parity.age,
            sweptSeconds: parity.swept,
            openFindings: row.findings,
          },
        }),
    dual: {
      pass: dual?.["pass"] ?? 0,
      fail: dual?.["fail"] ?? 0,
      inconclusive: dual?.["inconclusive"] ?? 0,
      waiting: dual?.["waiting"] ?? 0,
    },
    shadow: {
      compared: all("compared"),
      different: all("different"),
      uncompared: all("uncompared"),
      dropped: all("dropped"),
    },
    moved: sideOf(of("new")),
    legacy: sideOf(of("legacy")),
    ...(capture === null || capture.phase === "stopped"
      ? {}
      : {
          capture: {
            lagSeconds: capture.phase === "tail" ? (capture.lag ?? undefined) : undefined,
            silentSeconds: capture.silent,
          },
        }),
    quarantined: row.quarantined,
    ...(reverse === null
      ? {}
      : { reverse: { lagSeconds: reverse.lag, silentSeconds: reverse.silent } }),
    reverseConflicts: row.conflicts,
    proxies: row.proxies,
  };
}

function sideOf(row: TrafficRow | undefined): SideTraffic {
  if (row === undefined) return NO_TRAFFIC;
  const { requests, errors, slower } = row;
  return { requests, errors, slower: slower ?? [] };
}
