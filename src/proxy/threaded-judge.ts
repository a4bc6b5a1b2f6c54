import { Worker } from "node:worker_threads";
import type {
  ClientState,
  HandedBatch,
  JudgeReport,
  JudgeStart,
  ReadDifference,
} from "./judge-messages.ts";
import { ReadBatch, type AnsweredRead } from "./read-batch.ts";
import type { RouteNoise } from "./read-judge.ts";
import type { ShadowBody, ShadowBytes } from "./shadow-bytes.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import { SIDES, type Side } from "../rollout/stage.ts";
import { steadyNowMs } from "../runtime/steady-clock.ts";

/** Reads wait so long for others to be handed over with. */
const GATHER_MS = 50;
/** A thread that has reads and says nothing is given up: one comparison in it never takes as long. */
const SILENT_MS_MAX = 30_000;
/** One that was lost starts anew after so long, twice as long each time, */
const RESTART_MS = 1_000;
const RESTART_MS_MAX = 60_000;
/** and as at first when it has lived for so long. */
const WELL_MS = 60_000;
/** At the end it may say what came of its reads. */
const END_MS_MAX = 2_000;
const THREAD_MIB_MAX = 512;

export interface ThreadedJudgeOptions {
  readonly start: Omit<JudgeStart, "bytes">;
  readonly bytes: ShadowBytes;
  readonly onOutcome: (key: number, outcome: ShadowOutcome, times: number) => void;
  /** Before `onOutcome`. */
  readonly onDifference: (difference: ReadDifference) => void;
  readonly onNote: (text: string) => void;
  /** For tests: another script for the thread. */
  readonly script?: URL | undefined;
  /** For tests. */
  readonly silentMs?: number | undefined;
}

/**
 * Compares reads in a thread of its own, so that clients wait for none of it. Reads are handed over in
 * batches, and what came of them comes back in batches. When the thread is lost, what it had counts as not
 * compared and is not tried again, so that an answer that ends it ends it once; further reads are refused
 * until it starts anew.
 */
export class ThreadedJudge {
  readonly #options: ThreadedJudgeOptions;
  /** By the side that has answered them. */
  readonly #batches: Record<Side, ReadBatch> = { legacy: new ReadBatch(), new: new ReadBatch() };
  /** Reads of which nothing has come yet, by key. */
  readonly #waiting = new Map<number, number>();
  readonly #noise = new Map<string, RouteNoise>();
  #clients: JudgeReport["clients"] = IDLE;
  #underWay = 0;
  #thread: Worker | undefined;
  #timer: NodeJS.Timeout | undefined;
  #startedMs = 0;
  /** Since when the thread could have said something. */
  #silentSinceMs = 0;
  #mayStartMs = 0;
  #restartMs = RESTART_MS;
  #lost = 0;
  #isClosed = false;

  constructor(options: ThreadedJudgeOptions) {
    this.#options = options;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /** Threads that ended by themselves, or had to be ended. */
  get lost(): number {
    return this.#lost;
  }

  get noise(): readonly RouteNoise[] {
    return [...this.#noise.values()];
  }

  get clients(): Readonly<Record<Side, ClientState>> {
    return this.#clients;
  }

  /** Whether it takes reads. */
  get isUp(): boolean {
    if (this.#isClosed) return false;
    return this.#thread !== undefined || performance.now() >= this.#mayStartMs;
  }

  /** One more read, while it is up. @param body of its answer, which is lent */
  add(answeredBy: Side, read: AnsweredRead, body: ShadowBody): void {
    const batch = this.#batches[answeredBy];
    if (!batch.add(read, body)) {
      this.#handAll();
      batch.add(read, body);
    }
    if (this.#underWay++ === 0) this.#silentSinceMs = performance.now();
    this.#waiting.set(read.key, (this.#waiting.get(read.key) ?? 0) + 1);
    this.#timer ??= setTimeout(() => this.#handAll(), GATHER_MS);
  }

  /** To be called now and then: a thread that hangs is ended. */
  look(): void {
    const silentMs = performance.now() - this.#silentSinceMs;
    const isSilent = silentMs > (this.#options.silentMs ?? SILENT_MS_MAX);
    if (this.#underWay > 0 && isSilent) void this.#thread?.terminate();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const thread = this.#thread;
    if (thread === undefined) return this.#settle("dropped");
    this.#handAll();
    const ended = new Promise<unknown>((done) => thread.once("exit", done));
    const timer = setTimeout(() => void thread.terminate(), END_MS_MAX);
    thread.postMessage("close");
    await ended;
    clearTimeout(timer);
  }

  #handAll(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const answeredBy of SIDES) {
      const batch = this.#batches[answeredBy];
      if (batch.isEmpty) continue;
      const message: HandedBatch = { ...batch.take(), answeredBy, sentMs: steadyNowMs() };
      this.#thread ??= this.#start();
      this.#thread.postMessage(message, [message.records, ...message.pieces]);
    }
  }

  #start(): Worker {
    const { start, bytes, script } = this.#options;
    // As it was written when this file is, else as it was built.
    const isSource = import.meta.url.endsWith(".ts");
    const url = script ?? new URL(`./judge-thread.${isSource ? "ts" : "js"}`, import.meta.url);
    const workerData: JudgeStart = { ...start, bytes: bytes.shared };
    const thread = new Worker(url, {
      workerData,
      resourceLimits: { maxOldGenerationSizeMb: THREAD_MIB_MAX },
      execArgv: isSource ? ["--import", "jiti/register"] : [],
    });
    thread.unref();
    this.#startedMs = performance.now();
    this.#silentSinceMs = this.#startedMs;
    let problem = "it ended";
    thread.on("error", (error) => (problem = describe(error)));
    thread.on("message", (report: JudgeReport) => this.#take(report));
    thread.on("exit", () => this.#end(problem));
    return thread;
  }

  #take({ outcomes, differences, noise, clients }: JudgeReport): void {
    this.#silentSinceMs = performance.now();
    this.#clients = clients;
    for (const one of noise) this.#noise.set(one.route, one);
    for (const one of differences) this.#options.onDifference(one);
    for (const { key, outcome, times } of outcomes) {
      this.#waiting.set(key, this.#waiting.get(key)! - times);
      this.#underWay -= times;
      this.#options.onOutcome(key, outcome, times);
    }
  }

  /** Also when it was told to. */
  #end(problem: string): void {
    this.#thread = undefined;
    this.#clients = IDLE;
    this.#noise.clear();
    this.#settle("uncompared");
    if (this.#isClosed) return;
    this.#lost++;
    if (performance.now() - this.#startedMs >= WELL_MS) this.#restartMs = RESTART_MS;
    this.#mayStartMs = performance.now() + this.#restartMs;
    const seconds = this.#restartMs / 1_000;
    this.#restartMs = Math.min(this.#restartMs * 2, RESTART_MS_MAX);
    this.#options.onNote(
      `the thread that compares reads was lost, and starts anew in ${seconds} s: ${problem}`,
    );
  }

  /** Without a thread: all reads of which nothing has come, also those that it was to get next. */
  #settle(outcome: ShadowOutcome): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    for (const side of SIDES) if (!this.#batches[side].isEmpty) this.#batches[side].take();
    this.#options.bytes.takeBack();
    this.#underWay = 0;
    for (const [key, times] of this.#waiting)
      if (times > 0) this.#options.onOutcome(key, outcome, times);
    this.#waiting.clear();
  }
}

const NO_REQUESTS: ClientState = { inFlight: 0, waiting: 0, breakerOpen: false };
const IDLE = { legacy: NO_REQUESTS, new: NO_REQUESTS };

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
