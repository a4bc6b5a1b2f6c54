import { setTimeout as sleep } from "node:timers/promises";
import {
  SAMPLES_PER_ROUTE_MAX,
  type ShadowLog,
  type ShadowSample,
  type ShadowWrite,
} from "../rollout/shadow-log.ts";
import { tellChanges } from "../runtime/tell-changes.ts";
import { pause } from "../runtime/pause.ts";

/** Writes that wait for the store; further ones are dropped, and counted. */
const WAITING_MAX = 20_000;
/** Writes that are stored at once. */
const BATCH_MAX = 1_000;
const FLUSH_MS = 250;
/** What is left at the end may be stored for so long. */
const END_MS_MAX = 3_000;

/** Gathers what is to be stored of shadow traffic and stores it in batches, whenever the store is there. */
export class ShadowRows {
  readonly #log: ShadowLog;
  readonly #tell: (problem: string | undefined) => void;
  readonly #writes: ShadowWrite[] = [];
  /** By route: the newest. */
  readonly #samples = new Map<string, ShadowSample[]>();
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;
  #dropped = 0;

  /** @param onProblem told when what is wrong changes; undefined when nothing is any more */
  constructor(log: ShadowLog, onProblem: (problem: string | undefined) => void) {
    this.#log = log;
    this.#tell = tellChanges(onProblem);
    this.#running = this.#run();
  }

  /** Writes that are not in the store, and will not be. */
  get dropped(): number {
    return this.#dropped;
  }

  get waiting(): number {
    return this.#writes.length;
  }

  addWrite(write: ShadowWrite): void {
    if (this.#writes.length < WAITING_MAX) this.#writes.push(write);
    else this.#dropped++;
  }

  addSample(sample: ShadowSample): void {
    const key = `${sample.streamType} ${sample.route}`;
    const samples = this.#samples.get(key) ?? [];
    samples.push(sample);
    this.#samples.set(key, samples.slice(-SAMPLES_PER_ROUTE_MAX));
  }

  /** Stores what is left, if the store takes it soon, and counts the rest as dropped. */
  async close(): Promise<void> {
    this.#stop.abort();
    const late = new AbortController();
    await Promise.race([this.#flushAll(), pause(END_MS_MAX, late.signal)]);
    late.abort();
    this.#dropped += this.#writes.splice(0).length;
  }

  async #flushAll(): Promise<void> {
    await this.#running;
    let isDone = true;
    while (isDone && this.#writes.length + this.#samples.size > 0) isDone = await this.#flush();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(FLUSH_MS, undefined, { signal, ref: false }).catch(() => undefined);
      let isDone = true;
      while (isDone && !signal.aborted && this.#writes.length + this.#samples.size > 0)
        isDone = await this.#flush();
    }
  }

  /** @returns whether it was stored */
  async #flush(): Promise<boolean> {
    const writes = this.#writes.slice(0, BATCH_MAX);
    const samples = [...this.#samples.values()].flat();
    this.#samples.clear();
    try {
      await this.#log.add(writes, samples);
      this.#writes.splice(0, writes.length);
      this.#tell(undefined);
      return true;
    } catch (error) {
      // Newer ones may have come meanwhile.
      const newer = [...this.#samples.values()].flat();
      this.#samples.clear();
      for (const sample of [...samples, ...newer]) this.addSample(sample);
      this.#tell(error instanceof Error ? error.message : String(error));
      return false;
    }
  }
}
