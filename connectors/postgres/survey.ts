import type pg from "pg";
import type { DatabaseFacts, DatabaseSurvey, LogSample } from "../../src/source/database-facts.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";
import { checkServer } from "./check-server.ts";
import { sampleLog } from "./log-sample.ts";
import { connect, disconnect } from "./session.ts";
import { classify } from "./sqlstate.ts";
import { readColumns } from "./survey-columns.ts";
import { readForeignKeys } from "./survey-foreign-keys.ts";
import { readShapes } from "./survey-shapes.ts";
import { readSizes } from "./survey-sizes.ts";
import { largestLeaf, tableFacts } from "./survey-table-facts.ts";
import { readSchemas, readSurveyedTables } from "./survey-tables.ts";

export interface PostgresSurveyOptions {
  /** `postgres://user:password@host:port/database`; TLS by `sslmode` … as in libpq. */
  readonly url: string;
  readonly applicationName?: string;
}

const STATEMENT_MS_MAX = 60_000;
/** Nothing here may wait behind an ALTER TABLE of somebody else for longer. */
const LOCK_MS_MAX = 2_000;
const VERSION_MIN = 130_000;

/**
 * Looks at a Postgres database (13 or later) through its catalogue and statistics, in one read-only
 * session and about ten questions. A role that may only connect gets all but what is known of values.
 */
export function openPostgresSurvey(options: PostgresSurveyOptions): DatabaseSurvey {
  return new PostgresSurvey(options);
}

class PostgresSurvey implements DatabaseSurvey {
  readonly #options: Required<PostgresSurveyOptions>;
  #client: Promise<pg.Client> | undefined;

  constructor(options: PostgresSurveyOptions) {
    this.#options = { applicationName: "banyan assess", ...options };
  }

  async facts(schemas?: readonly string[]): Promise<DatabaseFacts> {
    const client = await (this.#client ??= this.#connect());
    const ask: Ask = async <Row>(doing: string, sql: string, params: readonly unknown[]) => {
      try {
        return (await client.query(sql, [...params])).rows as Row[];
      } catch (error) {
        throw classify(error, "source", doing);
      }
    };
    return await readFacts(ask, schemas);
  }

  async sample(seconds: number, signal: AbortSignal): Promise<LogSample> {
    return await sampleLog(this.#options, seconds, signal);
  }

  async close(): Promise<void> {
    const client = await this.#client?.catch(() => undefined);
    if (client !== undefined) await disconnect(client);
  }

  async #connect(): Promise<pg.Client> {
    const client = await connect({
      ...this.#options,
      lockTimeoutMs: LOCK_MS_MAX,
      answerMsMax: STATEMENT_MS_MAX + 10_000,
    });
    try {
      await client.query(
        `SET statement_timeout = ${STATEMENT_MS_MAX}; SET default_transaction_read_only = on`,
      );
      return client;
    } catch (error) {
      await disconnect(client);
      throw classify(error, "source", "preparing the session");
    }
  }
}

interface Server {
  readonly version: number;
  readonly text: string;
  readonly role: string;
  readonly database: string;
  readonly block: number;
  readonly counts: boolean;
  readonly countedSeconds: number | null;
  readonly mayAskAge: boolean;
}

/**
 * Since version 15 a database that was never reset has no such time of its own; then its counting is
 * as old as the server's statistics, or as the database itself, whose age only few roles may ask.
 */
const SERVER = `
  SELECT current_setting('server_version_num')::int AS version, split_part(current_setting('server_version'), ' ', 1) AS text,
         current_user::text AS role, current_database()::text AS database, current_setting('block_size')::int AS block,
         current_setting('track_counts')::bool AND NOT pg_is_in_recovery() AS counts,
         extract(epoch FROM clock_timestamp() - coalesce(d.stats_reset, (SELECT stats_reset FROM pg_stat_bgwriter)))::float8
           AS "countedSeconds",
         has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE') AS "mayAskAge"
    FROM pg_stat_database d WHERE d.datname = current_database()`;

const MADE = `
  SELECT extract(epoch FROM clock_timestamp() - (pg_stat_file('base/' || oid || '/PG_VERSION', true)).modification)::float8 AS seconds
    FROM pg_database WHERE datname = current_database()`;

async function readFacts(ask: Ask, wanted: readonly string[] | undefined): Promise<DatabaseFacts> {
  const [server] = await ask<Server>("asking the server who it is", SERVER, []);
  const { version, text, role, database, block, counts } = server!;
  if (version < VERSION_MIN) {
    throw new BanyanError(
      "SOURCE_NOT_READY",
      `the server is PostgreSQL ${text}; version 13 or later is needed`,
    );
  }
  const [made] = server!.mayAskAge
    ? await ask<{ seconds: number | null }>("asking for the database's age", MADE, [])
    : [];
  const schemas = await readSchemas(ask);
  const surveyed = await readSurveyedTables(ask, wanted);
  const shapes = await readShapes(ask, surveyed);
  const columns = await readColumns(
    ask,
    surveyed.map((table) => ({ oid: table.oid, leaf: largestLeaf(table)?.oid ?? table.oid })),
  );
  const foreignKeys = await readForeignKeys(
    ask,
    surveyed.map(({ oid }) => oid),
  );
  const sizes = await readSizes(ask, surveyed, block);
  const findings = await checkServer(ask, undefined, role);
  return {
    database,
    server: `PostgreSQL ${text}`,
    role,
    schemas,
    countedSeconds: counts ? leastOf(server!.countedSeconds, made?.seconds) : undefined,
    findings,
    tables: surveyed.flatMap((table) => {
      const entry = shapes.get(table.oid);
      if (entry === undefined) return [];
      return [
        tableFacts({ table, entry, columns: columns.get(table.oid) ?? new Map(), sizes, counts }),
      ];
    }),
    foreignKeys,
  };
}

/** Both only say how long it can have been at most. */
function leastOf(a: number | null, b: number | null | undefined): number | undefined {
  const known = [a, b].filter((value) => typeof value === "number");
  return known.length === 0 ? undefined : Math.max(0, Math.min(...known));
}
