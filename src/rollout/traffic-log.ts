import type { TrafficCounts, TrafficRow } from "./traffic.ts";
import { tellChanges } from "../runtime/tell-changes.ts";
import { pause } from "../runtime/pause.ts";

/**
 * Where proxies put what they have counted. Every implementation passes
 * test/contract/traffic-log.contract.ts.
 */
export interface TrafficLog {
  /**
   * Rows of one proxy. One that is there already stays as it is: writing again what may have been written
   * counts nothing twice. Ends within seconds.
   *
   * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
   */
  write(instance: string, rows: readonly TrafficRow[]): Promise<void>;
  close(): Promise<void>;
}

export interface WriteTrafficOptions {
  readonly counts: TrafficCounts;
  readonly log: TrafficLog;
  readonly instance: string;
  /** The store does not take them, or counts are lost; undefined when it takes them again. */
  readonly onProblem: (problem: string | undefined) => void;
}

const FLUSH_MS = 1_000;
/** Of one statement. */
const ROWS_MAX = 5_000;

/** Writes what was counted once a second until the signal aborts, and then the rest of it. */
export async function writeTraffic(
  options: WriteTrafficOptions,
  signal: AbortSignal,
): Promise<void> {
  const tell = tellChanges(options.onProblem);
  while (!signal.aborted) {
    await pause(FLUSH_MS, signal);
    if (signal.aborted) options.counts.endSecond();
    await flush(options, tell);
  }
}

async function flush(
  { counts, log, instance }: WriteTrafficOptions,
  tell: (problem: string | undefined) => void,
): Promise<void> {
  const rows = counts.rows(ROWS_MAX);
  if (rows.length === 0) return;
  try {
    await log.write(instance, rows);
    counts.written(rows);
    tell(undefined);
  } catch (error) {
    const lost = counts.lost === 0 ? "" : "; those of the first seconds are given up";
    tell(`${error instanceof Error ? error.message : String(error)}${lost}`);
  }
}
