import { bytes, count } from "../output.ts";
import type { Progress } from "../progress.ts";
import { openSource, openStore, type OpenedStore } from "../wire.ts";
import { startCli, type CliProcess } from "./cli-process.ts";
import type { LoadedConfig } from "../../config/load-config.ts";
import { BanyanError, invariant } from "../../model/errors.ts";
import type { PipelineStatus } from "../../pipeline/status.ts";
import type { Scope } from "../../runtime/shutdown.ts";
import type { ChangeSource } from "../../source/change-source.ts";
import { pause } from "../../runtime/pause.ts";

export interface CaptureOptions {
  readonly config: LoadedConfig;
  readonly configPath: string;
  readonly scope: Scope;
  readonly tell: (line: string) => void;
}

const POLL_MS = 100;
const WATCH_MS = 500;
const BASELINE_MS_MAX = 120_000;
/** Behind by less than this is caught up: under traffic there is always something on its way. */
const NEAR_BYTES = 64 * 1024;

/** The process `banyan run` of the demo: started, watched through its store, killed, started again. */
export class Capture implements AsyncDisposable {
  readonly #options: CaptureOptions;
  readonly #source: ChangeSource;
  readonly #store: OpenedStore;
  #process: CliProcess | undefined;
  #failure: string | undefined;
  /** What it said last: the reason when it ends. */
  #lastLine = "";
  baselineRowsPerSecond = 0;

  static async open(options: CaptureOptions): Promise<Capture> {
    const source = await openSource(options.config);
    return new Capture(options, source, await openStore(options.config));
  }

  private constructor(options: CaptureOptions, source: ChangeSource, store: OpenedStore) {
    this.#options = options;
    this.#source = source;
    this.#store = store;
    options.scope.defer(() => this.#end());
  }

  get processId(): number {
    return this.#process?.child.pid ?? 0;
  }

  start(): void {
    const { configPath, tell } = this.#options;
    const started = startCli(["run", "--json", "--config", configPath], (line) => {
      this.#lastLine = line;
      // The live figures are shown from the store, for both processes alike.
      if (!/^(baseline|tail): /.test(line)) tell(line);
    });
    this.#process = started;
    void started.ended.then(({ exitCode }) => {
      if (this.#process === started && exitCode !== 0)
        this.#failure = `banyan run ended with ${exitCode}: ${this.#lastLine}`;
    });
  }

  /** Where the pipeline stands: what its process wrote last, and its distance to the source now. */
  async status(): Promise<PipelineStatus> {
    const status = await this.#recorded();
    invariant(status !== undefined, "the pipeline has not begun");
    const head = await this.#source.head(status.positions.checkpoint);
    return { ...status, lag: { ...status.lag, bytes: head.lagBytes } };
  }

  async untilBaselined(): Promise<void> {
    const startedMs = Date.now();
    const done = await this.#poll(BASELINE_MS_MAX, async () => {
      const status = await this.#recorded();
      return status?.phase === "tail" ? status : undefined;
    });
    if (done === undefined) return;
    const { baselineRows } = done.ledger;
    this.baselineRowsPerSecond =
      done.baseline?.rowsPerSecond ?? Math.round((baselineRows * 1000) / (Date.now() - startedMs));
  }

  /** Keeps the live line. @returns ends it when aborted */
  watch(progress: Progress): AbortController {
    const end = new AbortController();
    const { signal } = this.#options.scope;
    void (async () => {
      while (!end.signal.aborted && !signal.aborted) {
        const status = await this.status().catch(() => undefined);
        if (end.signal.aborted) break;
        if (status !== undefined) progress.update(describe(status));
        await pause(WATCH_MS, end.signal);
      }
      progress.stop();
    })();
    return end;
  }

  /** Ends the process as a crash would. @returns its checkpoint then */
  async kill(): Promise<string> {
    const running = this.#process;
    invariant(running !== undefined, "nothing to kill");
    this.#process = undefined;
    running.child.kill("SIGKILL");
    await running.ended;
    return (await this.status()).positions.checkpoint ?? "";
  }

  /** Starts it again and waits until it has what was committed before this call. */
  async resume(msMax: number): Promise<{ readonly changes: number; readonly ms: number }> {
    const before = await this.status();
    const { position: goal } = await this.#source.head(undefined);
    this.start();
    // What counts is the work, not the start of the process.
    const first = await this.#poll(msMax, async () => {
      const record = await this.#store.store.pipeline(this.#options.config.name);
      return record !== undefined && record.ledger.changesIn > before.ledger.changesIn
        ? Date.now()
        : undefined;
    });
    const done = await this.#poll(msMax, async () => {
      const status = await this.status();
      const passed = (status.positions.checkpoint ?? "") >= goal;
      return passed && status.lag.bytes < NEAR_BYTES ? status : undefined;
    });
    if (first === undefined || done === undefined) return { changes: 0, ms: 0 };
    return {
      changes: done.ledger.changesIn - before.ledger.changesIn,
      ms: Date.now() - first + POLL_MS,
    };
  }

  /** Lets it drain and end. */
  async stop(): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    running?.child.kill("SIGINT");
    await running?.ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#end();
  }

  async #end(): Promise<void> {
    await this.stop();
    await this.#source.close();
    await this.#store.close();
  }

  async #recorded(): Promise<PipelineStatus | undefined> {
    const record = await this.#store.store.pipeline(this.#options.config.name);
    if (record?.status === undefined) return undefined;
    const status = record.status as PipelineStatus;
    return {
      ...status,
      phase: record.phase,
      ledger: record.ledger,
      positions: { ...status.positions, checkpoint: record.checkpoint },
    };
  }

  /** @returns undefined when a signal came first */
  async #poll<T>(msMax: number, probe: () => Promise<T | undefined>): Promise<T | undefined> {
    const { signal } = this.#options.scope;
    const deadline = Date.now() + msMax;
    while (!signal.aborted) {
      if (this.#failure !== undefined)
        throw new BanyanError("DEMO_FAILED", this.#failure, { hint: "See what it said above." });
      const found = await probe();
      if (found !== undefined) return found;
      if (Date.now() > deadline) {
        throw new BanyanError(
          "DEMO_FAILED",
          `banyan run did not get there in ${msMax / 1000} s; last: ${this.#lastLine}`,
          {
            hint: "The machine may be too busy: run banyan demo again.",
          },
        );
      }
      await pause(POLL_MS, signal);
    }
    return undefined;
  }
}

function describe({ ledger, rates, lag }: PipelineStatus): string {
  return `${count(ledger.changesIn)} changes → ${count(ledger.events)} events, ${count(rates.changesPerSecond)} changes/s, behind by ${bytes(lag.bytes)}`;
}
