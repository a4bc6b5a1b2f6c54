import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { destroy, disconnect, endWithClient } from "./session.ts";
import { classify } from "./sqlstate.ts";

const APPLICATION = "banyan";
const CONNECT_MS_MAX = 10_000;
const KEEP_ALIVE_MS = 30_000;
/** A server that has not answered a short statement by then is gone; lock_timeout comes before. */
const ANSWER_MS_MAX = 120_000;
/** How long a session that is given up may take to end. */
const END_MS_MAX = 2_000;

/**
 * Settings of every session of the store. They keep a role's or database's own defaults from changing
 * what a statement means or from ending a long transaction under way.
 *
 * `synchronous_commit` is left to the server: who asks for a synchronous standby means it.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  timezone: "UTC",
  datestyle: "ISO",
  search_path: "pg_catalog",
  standard_conforming_strings: "on",
  default_transaction_isolation: "read committed",
  row_security: "off",
  statement_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  // Nobody waits for ever: what holds a lock this long is stuck, and the attempt is made again.
  lock_timeout: "30000",
  // Costs more than it gains for statements that copy rows in or out.
  jit: "off",
};

/**
 * Settings that not every version knows, or that are changed only from one value: asked for after the
 * start of a session. With `synchronous_commit = off` a commit would be reported before it is durable.
 */
const AFTER_START = `
  SELECT set_config(name, '0', false) FROM unnest('{idle_session_timeout,transaction_timeout}'::text[]) AS name
   WHERE current_setting(name, true) <> '0'
  UNION ALL
  SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'`;

/**
 * For sessions whose statements look up a few rows by key: a plan that was made while a table was
 * empty is kept while it grows, and must not read all of it.
 */
const LOOKUPS_ONLY = "; SET enable_seqscan = off";

/**
 * The URL with the settings above in its `options`, where the driver reads them from, after the
 * user's own. TLS follows `sslmode` with libpq's meaning.
 *
 * Connects once to see whether the server is there and, for `sslmode=prefer`, offers TLS at all.
 *
 * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
 */
export async function resolveStoreUrl(url: string): Promise<string> {
  const full = withSettings(url);
  try {
    await disconnect(await openClient(full, {}, AFTER_START));
    return full;
  } catch (error) {
    const plain = full.replace(/([?&]sslmode=)prefer\b/, "$1disable");
    if (plain === full || !/does not support SSL/.test((error as Error).message)) {
      throw classify(error, "store", "connecting");
    }
    return plain;
  }
}

/**
 * A session of its own, outside the pool, whose statements may take as long as they take.
 *
 * @param url from {@link resolveStoreUrl}
 */
export async function openSession(url: string): Promise<pg.Client> {
  const client = await openClassified(url, {}, AFTER_START);
  try {
    await endWithClient(client);
    return client;
  } catch (error) {
    await disconnect(client);
    throw classify(error, "store", "connecting");
  }
}

/** A session that sends statements without waiting for the one before. @param url likewise */
export function openPipeliningSession(url: string): Promise<pg.Client> {
  const options = { pipeline: true, query_timeout: ANSWER_MS_MAX };
  return openClassified(url, options, AFTER_START + LOOKUPS_ONLY);
}

async function openClassified(
  url: string,
  options: pg.ClientConfig,
  afterStart: string,
): Promise<pg.Client> {
  try {
    return await openClient(url, options, afterStart);
  } catch (error) {
    throw classify(error, "store", "connecting");
  }
}

/** Sessions for short statements. @param url from {@link resolveStoreUrl} */
export function openPool(url: string, sessionsMax: number): pg.Pool {
  const pool = new pg.Pool({
    ...clientOptions(url),
    max: sessionsMax,
    query_timeout: ANSWER_MS_MAX,
    // The pool waits for the promise, whatever its type says.
    onConnect: (client) => client.query(AFTER_START + LOOKUPS_ONLY) as unknown as void,
  });
  // An idle session that breaks is replaced; without a listener it would end the process.
  pool.on("error", () => undefined);
  const open = new Set<pg.PoolClient>();
  pool.on("connect", (client) => {
    open.add(client);
    client.once("end", () => open.delete(client));
  });
  openSessions.set(pool, open);
  return pool;
}

/** Sessions of each pool that have not ended, with those that it has given up and forgotten. */
const openSessions = new WeakMap<pg.Pool, ReadonlySet<pg.PoolClient>>();

/**
 * Ends a pool of {@link openPool} and its sessions, those that are at work after their statement.
 *
 * The pool itself asks its sessions to end and leaves it at that; one whose other end is gone without a
 * word never does, and would keep the process alive.
 */
export async function closePool(pool: pg.Pool): Promise<void> {
  await pool.end();
  const open = openSessions.get(pool)!;
  const ended = [...open].map(
    (client) => new Promise<void>((done) => client.once("end", () => done())),
  );
  const late = new AbortController();
  const { signal } = late;
  await Promise.race([Promise.all(ended), sleep(END_MS_MAX, undefined, { signal })]);
  late.abort();
  for (const client of open) destroy(client as pg.Client);
}

async function openClient(
  url: string,
  options: pg.ClientConfig,
  afterStart: string,
): Promise<pg.Client> {
  const client = new pg.Client({ ...clientOptions(url), ...options });
  // A connection that breaks rejects its statements; nothing else must come of it.
  client.on("error", () => undefined);
  try {
    await client.connect();
    await client.query(afterStart);
    return client;
  } catch (error) {
    await disconnect(client);
    throw error;
  }
}

function clientOptions(url: string): pg.ClientConfig {
  return {
    connectionString: url,
    application_name: APPLICATION,
    keepAlive: true,
    keepAliveInitialDelayMillis: KEEP_ALIVE_MS,
    connectionTimeoutMillis: CONNECT_MS_MAX,
  };
}

function withSettings(url: string): string {
  const theirs = /[?&]options=([^&#]*)/.exec(url)?.[1];
  const ours = Object.entries(SETTINGS)
    .map(([name, value]) => `-c ${name}=${value.replaceAll(" ", "\\ ")}`)
    .join(" ");
  const options =
    theirs === undefined ? ours : `${decodeURIComponent(theirs.replaceAll("+", " "))} ${ours}`;
  const libpq =
    /[?&]sslmode=/.test(url) && !/[?&]uselibpqcompat=/.test(url) ? "&uselibpqcompat=true" : "";
  const preferred = url.replace(/([?&]sslmode=)allow\b/, "$1prefer");
  return `${preferred}${url.includes("?") ? "&" : "?"}options=${encodeURIComponent(options)}${libpq}`;
}
