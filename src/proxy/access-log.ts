import { pino } from "pino";
import { LogFile } from "./log-file.ts";
import type { RequestRecord } from "./request-record.ts";

export interface AccessLog {
  write(record: RequestRecord): void;
  /** Lines that were left out because nobody took them fast enough. */
  readonly dropped: number;
  close(): Promise<void>;
}

/** @param path a file that gets a line of JSON per request. Undefined keeps no log */
export function openAccessLog(path: string | undefined): AccessLog {
  if (path === undefined) {
    return { write: () => undefined, dropped: 0, close: () => Promise.resolve() };
  }
  const file = new LogFile(path);
  const logger = pino(
    {
      base: null,
      messageKey: "end",
      timestamp: () => `,"time":"${new Date().toISOString()}"`,
      formatters: { level: (level) => ({ level }) },
    },
    file,
  );
  return {
    write: (record) => logger.info(lineOf(record), record.end),
    get dropped() {
      return file.dropped;
    },
    close: () => file.close(),
  };
}

function lineOf(record: RequestRecord): object {
  const { decision } = record;
  const match = decision?.route;
  return {
    method: record.method,
    path: record.path,
    status: record.status,
    side: decision?.side,
    route: match?.route.path,
    stream: match?.route.stream,
    bucket: decision?.bucket,
    epoch: decision?.epoch,
    durationMs: rounded(performance.now() - record.startedMs),
    headMs: record.headMs === undefined ? undefined : rounded(record.headMs),
    heldMs: record.heldMs === undefined ? undefined : rounded(record.heldMs),
    bytesIn: record.bytesIn,
    bytesOut: record.bytesOut,
    peer: record.peer,
    trace: record.trace,
    correlation: record.correlation,
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 100) / 100;
}
