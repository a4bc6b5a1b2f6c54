import { spawn, type ChildProcess } from "node:child_process";
import { extname, join } from "node:path";
import { createInterface } from "node:readline";
import type { Scope } from "../../runtime/shutdown.ts";

/** Another process of this very program, as a user would start it. */
export interface CliProcess {
  readonly child: ChildProcess;
  readonly ended: Promise<CliResult>;
}

export interface CliResult {
  /** Undefined when a signal ended it. */
  readonly exitCode: number | undefined;
  readonly stdout: string;
}

/**
 * @param onLine told each line of its stderr: progress and errors
 */
export function startCli(
  args: readonly string[],
  onLine: (line: string) => void = () => undefined,
): CliProcess {
  const main = join(import.meta.dirname, `../main${extname(import.meta.filename)}`);
  const child = spawn(process.execPath, [main, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    // A signal of the terminal is for the demo, which then ends its children itself.
    detached: true,
  });
  let stdout = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  createInterface({ input: child.stderr }).on("line", onLine);
  const ended = new Promise<CliResult>((done, fail) => {
    child.once("error", fail);
    child.once("close", (code) => done({ exitCode: code ?? undefined, stdout }));
  });
  // Who waits for it sees the failure; nobody may be waiting yet.
  ended.catch(() => undefined);
  return { child, ended };
}

/** Runs it to its end, or interrupts it when the demo ends. */
export async function runCli(scope: Scope, args: readonly string[]): Promise<CliResult> {
  const { child, ended } = startCli(args);
  const interrupt = (): void => void child.kill("SIGINT");
  scope.signal.addEventListener("abort", interrupt, { once: true });
  try {
    return await ended;
  } finally {
    scope.signal.removeEventListener("abort", interrupt);
  }
}

/** Text of another program, below a line of the demo. */
export function indent(text: string): string {
  return text.trimEnd().replaceAll(/^(?=.)/gm, "      ");
}
