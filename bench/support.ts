import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../connectors/embedded/embedded-postgres.ts";

/** Ticks per second of /proc/<pid>/stat. */
const TICKS = 100;

/** A server of its own, with room for the log, so that no checkpoint falls into a measurement by chance. */
export async function withServer<T>(use: (server: EmbeddedPostgres) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), "banyan-bench-"));
  const server = await startEmbeddedPostgres({
    dir: directory,
    flags: [
      "-c",
      "wal_level=logical",
      "-c",
      "max_wal_size=16GB",
      "-c",
      "shared_buffers=512MB",
      "-c",
      "autovacuum=off",
    ],
  });
  try {
    return await use(server);
  } finally {
    await server.stop("fast");
    rmSync(directory, { recursive: true, force: true });
  }
}

export function describeMachine(): string {
  return `${cpus().length} × ${cpus()[0]?.model}, Node ${process.version}, embedded Postgres, fsync on`;
}

export interface CpuSeconds {
  /** Of this process. */
  readonly node: number;
  /** Of the server's sessions, by what they are; only those that still live at both ends. */
  readonly server: ReadonlyMap<number, number>;
}

export function cpuNow(server: EmbeddedPostgres): CpuSeconds {
  const { user, system } = process.cpuUsage();
  return { node: (user + system) / 1_000_000, server: cpuOfChildren(postmasterPid(server)) };
}

function postmasterPid({ dataDir }: EmbeddedPostgres): number {
  return Number(readFileSync(join(dataDir, "postmaster.pid"), "utf8").split("\n")[0]);
}

/** CPU seconds by process number; empty where there is no /proc. */
function cpuOfChildren(parent: number): ReadonlyMap<number, number> {
  const found = new Map<number, number>();
  for (const name of safely(() => readdirSync("/proc")) ?? []) {
    if (!/^\d+$/.test(name)) continue;
    const process = safely(() => processNow(Number(name)));
    if (process?.parent === parent) found.set(Number(name), process.cpuSeconds);
  }
  return found;
}

/** What /proc says of a process. @throws when there is none, or no /proc */
export function processNow(pid: number): { readonly parent: number; readonly cpuSeconds: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  return { parent: Number(fieldsOf(stat)[1]), cpuSeconds: secondsOf(stat) };
}

function secondsOf(stat: string): number {
  const fields = fieldsOf(stat);
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
}

function fieldsOf(stat: string): readonly string[] {
  // Behind the name, which may hold anything.
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** CPU seconds of the first thread of a process, which is the one that runs its JavaScript. */
export function mainThreadSeconds(pid: number): number {
  return secondsOf(readFileSync(`/proc/${pid}/task/${pid}/stat`, "utf8"));
}

function safely<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Highest memory of this process so far, in MB. */
export function rssMaxMb(): number {
  return Math.round(process.resourceUsage().maxRSS / 1024);
}

export async function timed<T>(
  work: () => Promise<T>,
): Promise<{ readonly seconds: number; readonly result: T }> {
  const start = performance.now();
  const result = await work();
  return { seconds: (performance.now() - start) / 1000, result };
}

export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Median, and the lowest and highest where there are several. */
export function spread(
  values: readonly number[],
  format: (value: number) => string = whole,
): string {
  if (values.length === 1) return format(values[0]!);
  return `${format(median(values))} (${format(Math.min(...values))} to ${format(Math.max(...values))})`;
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString("en");
}

export function ratio(value: number): string {
  return value.toFixed(2);
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
