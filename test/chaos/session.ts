import pg from "pg";
import { pause } from "./random.ts";

/**
 * What a transaction may fail with while faults go on around it: the server went away, or another
 * transaction was in the way. By SQLSTATE, by system error, and by the words of the driver.
 */
const PASSING = /^(08|57P0|40001$|40P01$|55P03$|57014$|ECONN|EPIPE)/;
const PASSING_WORDS = /^(Connection terminated|timeout expired|Query read timeout|Client )/;
const ANSWER_MS_MAX = 30_000;
/** Nobody in the shop waits long for what a fault holds. */
const LOCK_MS_MAX = 3_000;

/**
 * Runs statements on a session of their own. @returns undefined when they failed for a reason that the
 * faults around explain, so that nothing of what was not committed took place
 */
export async function inSession<T>(
  url: string,
  work: (client: pg.Client) => Promise<T>,
): Promise<T | undefined> {
  const client = new pg.Client({
    connectionString: url,
    application_name: "chaos",
    connectionTimeoutMillis: 5_000,
    query_timeout: ANSWER_MS_MAX,
    options: `-c lock_timeout=${LOCK_MS_MAX}`,
  });
  client.on("error", () => undefined);
  try {
    await client.connect();
    return await work(client);
  } catch (error) {
    const { code, message } = error as { code?: unknown; message: string };
    if (PASSING.test(String(code)) || PASSING_WORDS.test(message)) return undefined;
    throw error;
  } finally {
    await client.end().catch(() => undefined);
  }
}

const ATTEMPTS_MAX = 4;
const AGAIN_MS = 300;

/** Tries again what others stood in the way of. @returns undefined when they did so each time */
export async function persist<T>(
  signal: AbortSignal,
  attempt: () => Promise<T | undefined>,
): Promise<T | undefined> {
  for (let n = 1; ; n++) {
    const done = await attempt();
    if (done !== undefined || n === ATTEMPTS_MAX || signal.aborted) return done;
    await pause(AGAIN_MS, signal);
  }
}
