import type { Socket } from "node:net";
import pg from "pg";
import { BanyanError } from "../../src/model/errors.ts";
import { classify, type Side } from "./sqlstate.ts";

const CONNECT_MS_MAX = 10_000;
const END_MS_MAX = 2_000;

export interface SessionOptions {
  readonly url: string;
  readonly applicationName: string;
  /** Which code a failure gets; the source when absent. */
  readonly side?: Side;
  /** A walsender session that understands replication commands, beside SQL of the simple protocol. */
  readonly replication?: boolean;
  /** How long a statement may wait for one lock; for ever when absent. */
  readonly lockTimeoutMs?: number;
  /**
   * How long the server may take to answer a query before it counts as gone; for ever when absent.
   * The session is of no use afterwards.
   */
  readonly answerMsMax?: number;
}

/**
 * Settings that make the server write every value in its one canonical text, and that keep a role's
 * or database's own defaults from cutting long reads short.
 *
 * `row_security = off` makes a read fail instead of silently leaving rows out.
 */
const SETTINGS: Readonly<Record<string, string>> = {
  client_encoding: "UTF8",
  datestyle: "ISO",
  intervalstyle: "postgres",
  extra_float_digits: "3",
  timezone: "UTC",
  bytea_output: "hex",
  xmloption: "content",
  lc_monetary: "C",
  search_path: "pg_catalog",
  standard_conforming_strings: "on",
  // Shows in values of regclass, regtype and their like.
  quote_all_identifiers: "off",
  // The log stream warns of what it leaves out.
  client_min_messages: "warning",
  row_security: "off",
  statement_timeout: "0",
  idle_in_transaction_session_timeout: "0",
  synchronous_commit: "local",
};

/** Settings of newer versions, which an older one would refuse at the start of a session. */
const NEWER_SETTINGS = `
  SELECT set_config(name, '0', false) FROM unnest('{idle_session_timeout,transaction_timeout}'::text[]) AS name
   WHERE current_setting(name, true) <> '0'`;

/**
 * Opens a session with the settings above. TLS follows the URL's `sslmode`, with libpq's meaning.
 *
 * A connection that breaks later rejects its queries; it does not raise an event on the process.
 *
 * @throws BanyanError `SOURCE_UNREACHABLE`, `SOURCE_REFUSED` (or `STORE_…`)
 */
export async function connect(options: SessionOptions): Promise<pg.Client> {
  const side = options.side ?? "source";
  try {
    return await open(options, options.url);
  } catch (error) {
    // libpq's `prefer` falls back to plain text where the server offers no TLS.
    const plain = withoutTls(options.url);
    if (
      plain !== undefined &&
      error instanceof Error &&
      /does not support SSL/.test(error.message)
    ) {
      return await open(options, plain).catch((again: unknown) => {
        throw classify(again, side, "connecting");
      });
    }
    throw classify(error, side, "connecting");
  }
}

/**
 * Has the server look now and then, while it is at work, whether anybody still waits for the answer, so that
 * a long statement that was given up does not go on in a database that others use.
 */
export async function endWithClient(client: pg.Client): Promise<void> {
  const look = {
    text: "SET client_connection_check_interval = '2s'",
    query_timeout: CONNECT_MS_MAX,
  };
  try {
    await client.query(look);
  } catch (error) {
    // A server older than 14 knows no such setting, and not every system can.
    if (!(error instanceof pg.DatabaseError)) throw error;
  }
}

/** Ends a session in bounded time; never rejects. */
export async function disconnect(client: pg.Client): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, END_MS_MAX);
  });
  await Promise.race([client.end().catch(() => undefined), late]);
  clearTimeout(timer);
  destroy(client);
}

/** Cuts a session off, whatever it is doing. */
export function destroy(client: pg.Client): void {
  socketOf(client).destroy();
}

/** The socket below a client: TLS or plain, as it is at the time of the call. */
export function socketOf(client: pg.Client): Socket {
  return (client as unknown as { connection: { stream: Socket } }).connection.stream;
}

async function open(options: SessionOptions, url: string): Promise<pg.Client> {
  const config = {
    connectionString: withSettings(url, options.lockTimeoutMs ?? 0),
    application_name: options.applicationName,
    keepAlive: true,
    keepAliveInitialDelayMillis: 30_000,
    connectionTimeoutMillis: CONNECT_MS_MAX,
    ...(options.answerMsMax === undefined ? {} : { query_timeout: options.answerMsMax }),
    ...(options.replication === true ? { replication: "database" } : {}),
  };
  const client = new pg.Client(config);
  client.on("error", () => undefined);
  try {
    await client.connect();
    // The wire may fall silent right after the connection was made.
    const settings = { text: NEWER_SETTINGS, query_timeout: CONNECT_MS_MAX };
    await client.query(settings);
    await endWithClient(client);
    return client;
  } catch (error) {
    await disconnect(client);
    throw error;
  }
}

/** The driver lets the URL win over its own options, so what we set goes into the URL, after the user's. */
function withSettings(url: string, lockTimeoutMs: number): string {
  if (!/^postgres(ql)?:\/\//.test(url)) {
    throw new BanyanError("CONFIG_INVALID", "the database URL does not begin with postgres://", {
      hint: "Write it as postgres://user:password@host:port/database.",
    });
  }
  const theirs = /[?&]options=([^&#]*)/.exec(url)?.[1];
  const ours = Object.entries({ ...SETTINGS, lock_timeout: String(lockTimeoutMs) })
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(" ");
  const options =
    theirs === undefined ? ours : `${decodeURIComponent(theirs.replaceAll("+", " "))} ${ours}`;
  const compatible =
    /[?&]sslmode=/.test(url) && !/[?&]uselibpqcompat=/.test(url) ? "&uselibpqcompat=true" : "";
  const preferred = url.replace(/([?&]sslmode=)allow\b/, "$1prefer");
  return `${preferred}${url.includes("?") ? "&" : "?"}options=${encodeURIComponent(options)}${compatible}`;
}

function withoutTls(url: string): string | undefined {
  const plain = url.replace(/([?&]sslmode=)(prefer|allow)\b/, "$1disable");
  return plain === url ? undefined : plain;
}
