import { setTimeout as sleep } from "node:timers/promises";
import { startProgram, type RunningCli } from "../support/cli.ts";

export interface KeptOptions {
  readonly name: string;
  /** Of Node: the program and its arguments. */
  readonly args: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** What it says on stderr once it is at work. */
  readonly readyText: string;
}

const READY_MS_MAX = 120_000;
/** The grace of the program, and a little. */
const END_MS_MAX = 40_000;
const LINES_TOLD = 15;

/** One process of a test's world, which is killed and started again. */
export class KeptProcess {
  readonly name: string;
  /** Ends that nobody brought about, and ends in good order that were none. */
  readonly problems: string[] = [];
  readonly #options: KeptOptions;
  #running: RunningCli | undefined;
  #isEndExpected = false;

  constructor(options: KeptOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get pid(): number {
    return this.#running!.child.pid!;
  }

  /** Begins it; settles when it is at work. One that ends before is started anew, as an operator would. */
  async start(signal?: AbortSignal): Promise<void> {
    const deadline = Date.now() + READY_MS_MAX;
    this.#begin();
    while (!this.#running!.stderr().includes(this.#options.readyText)) {
      if (this.#running!.child.exitCode !== null) {
        await sleep(250);
        this.#begin();
      }
      if (Date.now() > deadline)
        throw new Error(`${this.name} does not begin: ${this.#lastLines()}`);
      if (signal?.aborted === true) return;
      await sleep(20);
    }
  }

  /** SIGKILL, and its end. */
  async kill(): Promise<void> {
    this.#isEndExpected = true;
    this.#running?.child.kill("SIGKILL");
    await this.#running?.ended;
  }

  /** SIGTERM, and its end within its grace. */
  async stop(): Promise<void> {
    const running = this.#running;
    if (running === undefined || hasEnded(running)) return;
    this.#isEndExpected = true;
    running.child.kill("SIGTERM");
    const late = sleep(END_MS_MAX, "late" as const, { ref: false });
    if ((await Promise.race([running.ended, late])) === "late") {
      this.problems.push(`${this.name} did not end within ${END_MS_MAX / 1_000} s of SIGTERM`);
      await this.kill();
    } else if (running.child.exitCode !== 0)
      this.problems.push(`${this.name} ended with ${running.child.exitCode}: ${this.#lastLines()}`);
  }

  /** Once more, if it has ended by itself; that is kept as a problem. */
  async revive(): Promise<void> {
    if (this.#running !== undefined && hasEnded(this.#running)) await this.start();
  }

  #begin(): void {
    const { args, cwd, env } = this.#options;
    this.#isEndExpected = false;
    const running = startProgram(args, { cwd, env });
    this.#running = running;
    void running.ended.then(({ exitCode, signal }) => {
      if (this.#running !== running || this.#isEndExpected) return;
      this.problems.push(
        `${this.name} ended by itself, ${signal ?? exitCode}: ${this.#lastLines()}`,
      );
    });
  }

  #lastLines(): string {
    return this.#running!.stderr().split("\n").slice(-LINES_TOLD).join("\n");
  }
}

function hasEnded({ child }: RunningCli): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}
