import type { LogLeft } from "../../src/source/change-source.ts";
import type { Ask } from "./catalogue.ts";
import type { Lsn } from "./lsn.ts";
import type { Slot } from "./slot.ts";

/** A rate is that of the last half minute or so; over less than this it would be chance. */
const SPAN_MS_MIN = 5_000;
const SPAN_MS_MAX = 30_000;

interface Sample {
  readonly atMs: number;
  readonly lsn: Lsn;
}

/** How fast the server writes its log, as seen by whoever asks for the end of it now and then. */
export class LogRate {
  #older: Sample | undefined;
  #newer: Sample | undefined;

  note(lsn: Lsn, atMs = performance.now()): void {
    const newer = this.#newer;
    if (newer !== undefined && atMs - newer.atMs < SPAN_MS_MAX) return;
    this.#older = newer;
    this.#newer = { atMs, lsn };
  }

  /** Undefined before it was watched for some seconds. */
  bytesPerSecond(lsn: Lsn, atMs = performance.now()): number | undefined {
    const since = this.#older ?? this.#newer;
    if (since === undefined || atMs - since.atMs < SPAN_MS_MIN) return undefined;
    return (Number(lsn - since.lsn) * 1_000) / (atMs - since.atMs);
  }
}

/** Since the server's statistics began; they know it since version 14. */
const AVERAGE = `
  SELECT (wal_bytes / greatest(1, extract(epoch FROM clock_timestamp() - stats_reset)))::float8 AS rate FROM pg_stat_wal`;

export async function averageLogRate(ask: Ask, version: number): Promise<number | undefined> {
  if (version < 140_000) return undefined;
  const [row] = await ask<{ rate: number | null }>("asking how much log is written", AVERAGE, []);
  return row?.rate ?? undefined;
}

/** Undefined while the server keeps the log without limit. */
export function logLeft(
  slot: Slot | undefined,
  bytesPerSecond: number | undefined,
): LogLeft | undefined {
  if (slot?.safeBytes === undefined) return undefined;
  const bytes = Math.max(0, slot.safeBytes);
  if (bytesPerSecond === undefined || bytesPerSecond < 1) return { bytes };
  return { bytes, seconds: Math.floor(bytes / bytesPerSecond) };
}
