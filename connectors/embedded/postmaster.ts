import { existsSync, readFileSync, readlinkSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** The server process of a data folder, as its postmaster.pid tells. */
export interface Postmaster {
  readonly pid: number;
  readonly port: number;
}

const POLL_MS = 50;
/** How long a signal may take before the next, harder one. */
const STEPS: Readonly<
  Record<"fast" | "immediate", readonly (readonly [NodeJS.Signals, number])[]>
> = {
  fast: [
    ["SIGINT", 20_000],
    ["SIGQUIT", 5_000],
    ["SIGKILL", 5_000],
  ],
  immediate: [
    ["SIGQUIT", 5_000],
    ["SIGKILL", 5_000],
  ],
};

/**
 * The live server of a data folder, if there is one. A file left behind whose process number now
 * belongs to another program is removed: the server would take that program for a live server.
 */
export function findPostmaster(dataDir: string): Postmaster | undefined {
  const file = pidFile(dataDir);
  if (!existsSync(file)) return undefined;
  const lines = readFileSync(file, "utf8").split("\n");
  const pid = Number(lines[0]);
  // The port stands in line 4, once the server has read its settings.
  const port = Number(lines[3]);
  if (!Number.isInteger(pid) || pid <= 1 || !Number.isInteger(port) || port === 0) return undefined;
  if (!isAlive(pid)) return undefined;
  if (workingFolder(pid) !== "unknown" && workingFolder(pid) !== realpathSync(dataDir)) {
    rmSync(file, { force: true });
    return undefined;
  }
  return { pid, port };
}

/** Ends the server in bounded time; `fast` ends its sessions and writes out, `immediate` is a crash. */
export async function stopPostmaster(
  dataDir: string,
  { pid }: Postmaster,
  mode: "fast" | "immediate",
): Promise<void> {
  for (const [signal, waitMs] of STEPS[mode]) {
    if (!send(pid, signal)) return;
    const deadline = Date.now() + waitMs;
    while (Date.now() < deadline) {
      // The file goes last; a parent that does not collect its children leaves the process as a zombie.
      if (!isAlive(pid) || (!existsSync(pidFile(dataDir)) && workingFolder(pid) === "gone")) return;
      await sleep(POLL_MS);
    }
  }
}

function pidFile(dataDir: string): string {
  return join(dataDir, "postmaster.pid");
}

/**
 * A process that we may not signal is another user's, and so no server of ours: the number of ours was
 * given out anew, as after a restart of the machine. Postgres itself decides in the same way.
 */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function send(pid: number, signal: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    return false;
  }
}

/** A server works in its data folder. `gone`: the process has ended; `unknown`: the system does not tell. */
function workingFolder(pid: number): string {
  if (process.platform !== "linux") return "unknown";
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ENOENT" ? "gone" : "unknown";
  }
}
