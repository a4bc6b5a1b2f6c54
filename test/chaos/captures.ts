import { spawn, type ChildProcess } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { ERROR_CODES, EXIT, type ErrorCode } from "../../src/model/errors.ts";

export interface CapturesOptions {
  /** Node's arguments: what to load before, the program, and its own. */
  readonly args: readonly string[];
  readonly directory: string;
  readonly env: Readonly<Record<string, string>>;
  /** Told every line that a capture says. */
  readonly onLine: (line: string) => void;
}

interface Capture {
  readonly child: ChildProcess;
  readonly ended: Promise<void>;
  /** What was done to it that ends it. */
  sent: "SIGKILL" | "SIGTERM" | undefined;
  /** It was told to kill itself at some point of its work. */
  readonly isDoomed: boolean;
  /** Another one lived at some time of its life, so that it may be fenced. */
  hadCompany: boolean;
  readonly lines: string[];
  /** What it said on stdout, at its end. */
  result: string;
  readonly startedMs: number;
}

const RESTART_MS = 250;
const POLL_MS = 20;
const LINES_MAX = 200;
/** The grace of `banyan run`, and a little. */
const END_MS_MAX = 40_000;
const STACK = /^\s+at .+:\d+:\d+\)?$/;

/**
 * The operator's part: keeps one `banyan run` alive, starts it again whenever it has ended, and judges
 * each end. An end must be one that was brought about, or say a documented code that something which
 * was done to it explains; all others are problems.
 */
export class Captures {
  readonly problems: string[] = [];
  /** How captures ended, by the signal or the code. */
  readonly endings = new Map<string, number>();
  /** What they tried again for, by code. */
  readonly retries = new Map<string, number>();
  starts = 0;
  readonly #options: CapturesOptions;
  readonly #alive = new Set<Capture>();
  readonly #mayEnd = new Map<ErrorCode, number>();
  #holds = 0;
  #supervision: Promise<void> | undefined;
  #over = false;

  constructor(options: CapturesOptions) {
    this.#options = options;
  }

  get alive(): number {
    return this.#alive.size;
  }

  /** Begins to keep one alive. */
  supervise(): void {
    this.#supervision ??= this.#keepAlive();
  }

  /** @param doom where it is to kill itself, and which file tells that it did; see src/runtime/failpoint.ts */
  start(doom?: { readonly failpoint: string; readonly log: string }): void {
    const { args, directory, env } = this.#options;
    const child = spawn(process.execPath, args, {
      cwd: directory,
      env: {
        ...process.env,
        ...env,
        BANYAN_FAILPOINT: doom?.failpoint,
        BANYAN_FAILPOINT_LOG: doom?.log,
      },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const ended = new Promise<void>((done) => {
      child.once("error", (error) => {
        this.problems.push(`a capture could not be started: ${error.message}`);
        done();
      });
      child.once("close", () => done());
    });
    const hadCompany = this.#alive.size > 0;
    const isDoomed = doom !== undefined;
    const capture: Capture = {
      ...{ child, ended, isDoomed, hadCompany },
      ...{ sent: undefined, lines: [], result: "", startedMs: performance.now() },
    };
    for (const other of this.#alive) other.hadCompany = true;
    this.#alive.add(capture);
    this.starts += 1;
    child.stdout!.setEncoding("utf8").on("data", (text: string) => {
      capture.result += text;
    });
    let rest = "";
    child.stderr!.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) this.#hear(capture, line);
    });
    void ended.then(() => {
      this.#alive.delete(capture);
      this.#judge(capture);
    });
  }

  /** Nothing is started while it is held. */
  hold(): Disposable {
    this.#holds += 1;
    return { [Symbol.dispose]: () => void (this.#holds -= 1) };
  }

  /** From now on, and for so long after it was disposed, a capture may end with this code. */
  explain(code: ErrorCode, graceMs: number): Disposable {
    this.#mayEnd.set(code, Infinity);
    return { [Symbol.dispose]: () => void this.#mayEnd.set(code, performance.now() + graceMs) };
  }

  /** Kills all, and waits for that. @returns how many there were */
  async kill(): Promise<number> {
    const killed = [...this.#alive];
    for (const capture of killed) {
      capture.sent = "SIGKILL";
      capture.child.kill("SIGKILL");
    }
    await Promise.all(killed.map(({ ended }) => ended));
    return killed.length;
  }

  /**
   * Asks all to end in good order, and waits for that within their grace.
   *
   * @param patienceMs after which they are killed; a source that vanished without a word takes all their grace
   * @returns how many there were
   */
  async terminate(patienceMs = END_MS_MAX): Promise<number> {
    const asked = [...this.#alive];
    for (const capture of asked) {
      capture.sent ??= "SIGTERM";
      capture.child.kill("SIGTERM");
    }
    const all = Promise.all(asked.map(({ ended }) => ended));
    const late = await Promise.race([all, sleep(patienceMs, "late", { ref: false })]);
    if (late !== "late") return asked.length;
    if (patienceMs >= END_MS_MAX)
      this.problems.push(`a capture did not end within ${END_MS_MAX / 1000} s of SIGTERM`);
    await this.kill();
    return asked.length;
  }

  /** SIGSTOP to all; `goOn` lets them go on. */
  freeze(): { readonly frozen: number; readonly goOn: () => void } {
    const frozen = [...this.#alive];
    for (const { child } of frozen) child.kill("SIGSTOP");
    return {
      frozen: frozen.length,
      goOn: () => {
        for (const { child } of frozen) child.kill("SIGCONT");
      },
    };
  }

  /** Waits until exactly one is alive. @returns whether it came to that */
  async one(ms: number): Promise<boolean> {
    const deadline = performance.now() + ms;
    while (this.#alive.size !== 1) {
      if (performance.now() > deadline) return false;
      await sleep(POLL_MS);
    }
    return true;
  }

  /** Ends supervision and what is alive, without any judgement. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#over = true;
    await this.#supervision;
    await this.kill();
  }

  async #keepAlive(): Promise<void> {
    while (!this.#over) {
      if (this.#alive.size === 0 && this.#holds === 0) {
        this.start();
        await sleep(RESTART_MS);
      }
      await sleep(POLL_MS);
    }
  }

  #hear(capture: Capture, line: string): void {
    this.#options.onLine(line);
    capture.lines.push(line);
    if (capture.lines.length > LINES_MAX) capture.lines.shift();
    const retried = /^\[([A-Z_]+)\].*; trying again in \d+ ms$/.exec(line)?.[1];
    if (retried !== undefined) count(this.retries, retried);
  }

  #judge({ child, sent, isDoomed, hadCompany, lines, result, startedMs }: Capture): void {
    const { exitCode, signalCode } = child;
    const code = lines.map((line) => /^banyan: \[([A-Z_]+)\]/.exec(line)?.[1]).findLast(Boolean);
    count(this.endings, signalCode ?? code ?? `exit ${exitCode}`);
    const wrong = (why: string): void => {
      const life = ((performance.now() - startedMs) / 1000).toFixed(1);
      const said = [...lines, ...result.split("\n")].slice(-25).join("\n    ");
      this.problems.push(
        `a capture ended with ${signalCode ?? exitCode} after ${life} s (${why}):\n    ${said}`,
      );
    };
    if (lines.some((line) => STACK.test(line))) return wrong("a stack trace");
    if (signalCode === "SIGKILL" && isDoomed) return;
    if (signalCode !== null) return sent === signalCode ? undefined : wrong("not our signal");
    if (sent === "SIGKILL") return; // It was ending already.
    if (exitCode === EXIT.ok || exitCode === EXIT.graceExpired)
      return sent === "SIGTERM" ? undefined : wrong("by itself");
    if (code === undefined || !(code in ERROR_CODES)) return wrong("without a documented code");
    const known = code as ErrorCode;
    if (ERROR_CODES[known].exitCode !== exitCode) return wrong("not the code's exit code");
    if (performance.now() <= (this.#mayEnd.get(known) ?? -1)) return;
    if (known !== "PIPELINE_FENCED") return wrong("nothing done explains that");
    if (!hadCompany) wrong("fenced, and was alone");
  }
}

function count(counts: Map<string, number>, name: string): void {
  counts.set(name, (counts.get(name) ?? 0) + 1);
}
