import { realpathSync } from "node:fs";
import type { Socket } from "node:net";
import pg from "pg";
import type { Cluster } from "./cluster.ts";

/**
 * One user's place in an embedded server: a session that holds a shared advisory lock. The lock
 * ends with the session, so a killed process counts no more; whoever can take it exclusively is
 * the last one, and nobody can join while they stop the server.
 */
export interface Membership {
  readonly client: pg.Client;
  readonly port: number;
  /** False for a server that somebody started by hand on our data: it is never stopped by us. */
  readonly startedByBanyan: boolean;
}

/** `no`: nothing of ours answers there; `recovering`: it will, after it has read its log. */
export type Answer = Membership | "no" | "recovering";

/** "banyan" in ASCII, as the key of the lock. */
const LOCK_KEY = "108170705527150";
const CONNECT_MS_MAX = 5_000;
const QUERY_MS_MAX = 10_000;
/** cannot_connect_now: the server starts up, recovers or shuts down. */
const NOT_NOW = "57P03";

export function urlOf({ superuser, password }: Cluster, port: number, database: string): string {
  return `postgres://${superuser}:${password}@127.0.0.1:${port}/${encodeURIComponent(database)}?sslmode=disable`;
}

export async function join(cluster: Cluster, port: number): Promise<Answer> {
  const client = open(cluster, port);
  try {
    await client.connect();
    const { rows } = await client.query<{ folder: string; name: string }>(
      "SELECT current_setting('data_directory') AS folder, current_setting('cluster_name') AS name",
    );
    const [found] = rows;
    if (found === undefined || realpathSync(found.folder) !== realpathSync(cluster.dataDir)) {
      await client.end();
      return "no";
    }
    await client.query(`SELECT pg_advisory_lock_shared(${LOCK_KEY})`);
    socketOf(client).unref(); // A process may end without leaving.
    return { client, port, startedByBanyan: found.name === "banyan" };
  } catch (error) {
    await client.end().catch(() => undefined);
    return (error as { code?: unknown }).code === NOT_NOW ? "recovering" : "no";
  }
}

/**
 * Ends the membership; true when nobody else has one, and the server is ours to stop. Until then
 * the exclusive lock is kept, so that nobody joins a server that is about to stop.
 */
export async function leave(cluster: Cluster, membership: Membership): Promise<boolean> {
  const { client, port, startedByBanyan } = membership;
  socketOf(client).ref();
  const last = (from: pg.Client): Promise<boolean> =>
    from
      .query<{ last: boolean }>(`SELECT pg_try_advisory_lock(${LOCK_KEY}) AS last`)
      .then(({ rows }) => rows[0]?.last === true);
  try {
    await client.query(`SELECT pg_advisory_unlock_shared(${LOCK_KEY})`);
    return startedByBanyan && (await last(client));
  } catch {
    // Our session was cut off; ask in a new one. No answer: the server is gone or not ours to judge.
    const again = open(cluster, port);
    try {
      await again.connect();
      return startedByBanyan && (await last(again));
    } catch {
      return false;
    } finally {
      await again.end().catch(() => undefined);
    }
  }
}

function open(cluster: Cluster, port: number): pg.Client {
  const client = new pg.Client({
    connectionString: urlOf(cluster, port, "postgres"),
    application_name: "banyan embedded",
    connectionTimeoutMillis: CONNECT_MS_MAX,
    query_timeout: QUERY_MS_MAX,
    options: "-c statement_timeout=0 -c idle_session_timeout=0",
  });
  client.on("error", () => undefined);
  return client;
}

function socketOf(client: pg.Client): Socket {
  return (client as unknown as { readonly connection: { readonly stream: Socket } }).connection
    .stream;
}
