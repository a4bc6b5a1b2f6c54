import { spawn, type ChildProcess } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** The built program, as a user starts it. `npm run build` comes first; the e2e suite does that. */
export const CLI = join(import.meta.dirname, "../../dist/src/cli/main.js");

export interface CliResult {
  /** Null when a signal ended it. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunningCli {
  readonly child: ChildProcess;
  readonly ended: Promise<CliResult>;
  /** What it has said on stderr so far. */
  stdout(): string;
  stderr(): string;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** When {@link runCli} kills it; four minutes when absent. */
  readonly timeoutMs?: number;
}

const RUN_MS_MAX = 240_000;

/** Starts `banyan` with these arguments; the caller waits for `ended`. */
export function startCli(args: readonly string[], options: CliOptions = {}): RunningCli {
  return startProgram([CLI, ...args], options);
}

/** Starts a program of Node with these arguments. */
export function startProgram(args: readonly string[], { cwd, env }: CliOptions = {}): RunningCli {
  const child = spawn(process.execPath, args, {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  const ended = new Promise<CliResult>((done, fail) => {
    child.once("error", fail);
    child.once("close", (exitCode, signal) => done({ exitCode, signal, stdout, stderr }));
  });
  ended.catch(() => undefined);
  return { child, ended, stdout: () => stdout, stderr: () => stderr };
}

/** Runs `banyan` to its end; a run that takes too long is killed. */
export async function runCli(
  args: readonly string[],
  options: CliOptions = {},
): Promise<CliResult> {
  const { child, ended } = startCli(args, options);
  const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? RUN_MS_MAX);
  try {
    return await ended;
  } finally {
    clearTimeout(timer);
  }
}

/** A folder with a `banyan.config.ts` of this text, removed when disposed. */
export function configFolder(config: string): Disposable & { readonly directory: string } {
  const directory = mkdtempSync(join(tmpdir(), "banyan-e2e-"));
  writeFileSync(join(directory, "banyan.config.ts"), config);
  return {
    directory,
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
