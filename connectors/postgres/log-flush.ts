import type { Ask } from "./catalogue.ts";
import { FENCE_PREFIX } from "./intent.ts";
import { formatLsn, type Lsn } from "./lsn.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { pause } from "../../src/runtime/pause.ts";

/** Between two looks at how far the log is flushed. */
const LOOK_MS = 10;
/**
 * How old the end of the log may be and not be flushed. A commit that nobody waits for is flushed within three
 * rounds of the log writer, 0.6 s by default. What no commit follows, of a transaction that is open or of a
 * reader that tidied up a page, nobody flushes for a quarter of a minute.
 */
const PATIENCE_MS = 700;
/** A server that has not flushed by then what it was made to flush has a disk that is stuck. */
const FLUSH_MS_MAX = 30_000;

/** Of the page in whose midst a segment goes on, and of its first one (`XLogPageHeaderData`). */
const PAGE_HEADER = 24n;
const SEGMENT_HEADER = 40n;

export interface LogSizes {
  readonly page: number;
  readonly segment: number;
}

/**
 * Where the last record of the log ends, by where the next one will be inserted: behind a page that is
 * full to its end that is behind the next page's header, which is not written, nor flushed, before.
 */
export function endOfRecords(insert: Lsn, { page, segment }: LogSizes): Lsn {
  const within = insert % BigInt(page);
  const isFirst = insert % BigInt(segment) < BigInt(page);
  return (within === (isFirst ? SEGMENT_HEADER : PAGE_HEADER) ? insert - within : insert) as Lsn;
}

interface Flushed {
  readonly flushed: boolean;
  readonly session: string;
}

/** Names the session that is asked, and the server's run. */
const SESSION = "pg_backend_pid() || ' since ' || pg_postmaster_start_time()";

/** The session that is asked beside a snapshot: while it is the same the server did not crash. */
export async function sessionOf(ask: Ask): Promise<string> {
  const doing = "asking for the session beside the snapshot";
  const [answer] = await ask<Pick<Flushed, "session">>(doing, `SELECT ${SESSION} AS session`, []);
  return answer!.session;
}

/**
 * Waits until a crash of the server cannot undo what its log holds before `end`. As a rule it has been
 * flushed already. Where nothing flushes it, a mark is written behind it, as for a fence: that flushes all
 * that lies before.
 *
 * @param sinceMs when the log ended there, by `performance.now()`
 * @param session as {@link sessionOf} named it before then
 * @throws BanyanError `SOURCE_UNREACHABLE` when the server does not flush, or may have crashed since and
 *   written other things there; the signal's reason
 */
export async function waitUntilFlushed(
  ask: Ask,
  {
    end,
    sinceMs,
    session,
  }: { readonly end: Lsn; readonly sinceMs: number; readonly session: string },
  signal: AbortSignal,
): Promise<void> {
  const startedMs = performance.now();
  let isForced = false;
  for (;;) {
    signal.throwIfAborted();
    const doing = "asking how far the log is flushed";
    const sql = `SELECT pg_current_wal_flush_lsn() >= $1::pg_lsn AS flushed, ${SESSION} AS session`;
    const [answer] = await ask<Flushed>(doing, sql, [formatLsn(end)]);
    if (answer!.session !== session) throw crashed();
    if (answer!.flushed) return;
    const nowMs = performance.now();
    if (nowMs - startedMs > FLUSH_MS_MAX) throw notFlushed(end);
    if (nowMs - sinceMs > PATIENCE_MS && !isForced) {
      isForced = true;
      const mark = "SELECT pg_logical_emit_message(true, $1, '')";
      // Who may not write one waits for the server, which flushes all sooner or later.
      await ask("flushing the log", mark, [FENCE_PREFIX]).catch(() => undefined);
    } else await pause(LOOK_MS, signal);
  }
}

function crashed(): BanyanError {
  return new BanyanError(
    "SOURCE_UNREACHABLE",
    "the source was lost while rows were read, and may have forgotten what they showed",
    { hint: "It is tried again." },
  );
}

function notFlushed(end: Lsn): BanyanError {
  return new BanyanError(
    "SOURCE_UNREACHABLE",
    `the source has not flushed its log up to ${formatLsn(end)} within ${FLUSH_MS_MAX / 1000} s`,
    { hint: "Look at the disk of the log; it is tried again." },
  );
}
