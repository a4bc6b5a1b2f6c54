import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { AnswerComparer } from "./answer-comparer.ts";
import type { AnswerTap } from "./answer-tap.ts";
import type { Compared } from "./compared-answers.ts";
import { decodeAnswer } from "./decode-answer.ts";
import type { RouteSettings, ShadowSettings } from "./settings.ts";
import type { ShadowBytes } from "./shadow-bytes.ts";
import type { NoReply, ShadowClient, ShadowReply, ShadowRequest } from "./shadow-client.ts";
import { ShadowNoise } from "./shadow-noise.ts";
import { ShadowPressure } from "./shadow-pressure.ts";
import { ReadTap, type TappedAnswer } from "./shadow-read-tap.ts";
import { rulesOf } from "./shadow-rules.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import type { Side } from "../rollout/stage.ts";
import type { SampleDifference } from "../rollout/shadow-log.ts";
import type { AnswerRulesWithHeaders } from "../verify/compare-answers.ts";

/** Reads under way in shadow, from the end of the client's answer to the verdict. */
const READS_MAX = 2_000;
/** Of those that are asked again because they differed. */
const RECHECKS_MAX = 64;
/** After so long each, while the sides come in step. */
const RECHECK_MS: readonly number[] = [500, 1_500];
/** Answers to a client that knows something already, which say nothing of what it would have got else. */
const PARTIAL = new Set([206, 304, 412, 416]);
/** How often answers that do not end are looked for. */
const SWEEP_MS = 1_000;

export interface ShadowReadsOptions {
  readonly settings: ShadowSettings;
  readonly clients: Readonly<Record<Side, ShadowClient>>;
  readonly bytes: ShadowBytes;
  /** Told once of each read that was chosen. */
  readonly onOutcome: (read: ShadowRead, outcome: ShadowOutcome) => void;
  /** Before `onOutcome`. */
  readonly onDifference: (read: ShadowRead, differences: readonly SampleDifference[]) => void;
  readonly random?: (() => number) | undefined;
  /** For tests. */
  readonly busy?: (() => number) | undefined;
  /** For tests. */
  readonly recheckMs?: readonly number[] | undefined;
}

/** A read that a client was answered, or is about to be. */
export interface ShadowRead extends ShadowRequest {
  readonly route: RouteSettings;
  /** Who answers the client. */
  readonly side: Side;
}

interface RouteMemory {
  readonly rules: AnswerRulesWithHeaders;
  readonly noise: ShadowNoise;
  /** Comparisons in which something was left out as noise. */
  noisy: number;
}

/**
 * Asks the other side what a client was answered, after the answer has ended, and compares. What differs is
 * asked again from both, and legacy twice: it counts only if it stays, and only where legacy agrees with
 * itself.
 */
export class ShadowReads {
  readonly #options: ShadowReadsOptions;
  readonly #routes = new Map<RouteSettings, RouteMemory>();
  readonly #open = new Set<ReadTap>();
  readonly #comparer = new AnswerComparer();
  readonly #stop = new AbortController();
  readonly #running = new Set<Promise<void>>();
  readonly #sweep: NodeJS.Timeout;
  readonly #pressure: ShadowPressure;
  #rechecks = 0;

  constructor(options: ShadowReadsOptions) {
    this.#options = options;
    this.#pressure = new ShadowPressure(options.busy);
    setMaxListeners(RECHECKS_MAX, this.#stop.signal);
    this.#sweep = setInterval(() => this.#endOld(), SWEEP_MS).unref();
  }

  /** Reads that are under way in shadow, and answers that are still copied. */
  get underWay(): number {
    return this.#running.size + this.#open.size;
  }

  /** Of the reads that were chosen so many are compared; the proxy has more to do with its clients. */
  get share(): number {
    return this.#pressure.share;
  }

  /** What was learned, by path of the route. */
  get noise(): readonly { route: string; noisy: number; places: ShadowNoise["known"] }[] {
    return [...this.#routes].map(([route, { noise, noisy }]) => ({
      route: route.path,
      noisy,
      places: noise.known,
    }));
  }

  /** Looks on at an answer. Undefined for a read that is not of the sample. */
  tap(read: ShadowRead): AnswerTap | undefined {
    const { settings, bytes, onOutcome } = this.#options;
    if (settings.reads < 1 && this.#random() >= settings.reads) return undefined;
    if (this.underWay >= READS_MAX || !this.#pressure.admit()) {
      onOutcome(read, "dropped");
      return undefined;
    }
    const tap = new ReadTap(bytes, settings.bodyBytesMax, (answer) => {
      this.#open.delete(tap);
      if (answer === "too-large" || answer === "streaming" || answer === "late")
        onOutcome(read, "uncompared");
      else if (answer === "full") onOutcome(read, "dropped");
      else if (answer !== "broke") this.#begin(read, answer);
    });
    this.#open.add(tap);
    return tap;
  }

  async close(): Promise<void> {
    clearInterval(this.#sweep);
    this.#pressure.close();
    this.#stop.abort();
    for (const tap of this.#open) tap.broke();
    await this.#comparer.close();
    await Promise.all(this.#running);
  }

  #random(): number {
    return (this.#options.random ?? Math.random)();
  }

  #begin(read: ShadowRead, answer: TappedAnswer): void {
    const work = this.#judge(read, answer)
      // A mistake of ours costs one comparison.
      .catch((): ShadowOutcome => "uncompared")
      .then((outcome) => {
        this.#options.onOutcome(read, outcome);
        this.#running.delete(work);
      });
    this.#running.add(work);
  }

  async #judge(read: ShadowRead, answer: TappedAnswer): Promise<ShadowOutcome> {
    if (PARTIAL.has(answer.status)) {
      answer.body.free();
      return "uncompared";
    }
    const first = await this.#first(read, answer);
    if (first !== "different") return first;
    if (this.#rechecks >= RECHECKS_MAX) return "uncompared";
    this.#rechecks++;
    try {
      return await this.#again(read);
    } finally {
      this.#rechecks--;
    }
  }

  async #first(read: ShadowRead, answer: TappedAnswer): Promise<ShadowOutcome> {
    const { clients, settings } = this.#options;
    const isLegacy = read.side === "legacy";
    const other = await clients[isLegacy ? "new" : "legacy"].ask(read);
    const legacy = isLegacy ? answer : other;
    try {
      if (typeof other === "string") return outcomeOf(other);
      const verdict = await this.#compare(
        read,
        isLegacy ? answer : other,
        isLegacy ? other : answer,
      );
      if (settings.noise > 0 && this.#random() < settings.noise && typeof legacy !== "string")
        await this.#learn(read, legacy);
      return told(verdict);
    } finally {
      answer.body.free();
      if (typeof other !== "string") other.body.free();
    }
  }

  /** Asks both again until they are equal. */
  async #again(read: ShadowRead): Promise<ShadowOutcome> {
    let differences: readonly SampleDifference[] = [];
    for (const waitMs of this.#options.recheckMs ?? RECHECK_MS) {
      await sleep(waitMs, undefined, { signal: this.#stop.signal, ref: false });
      const verdict = await this.#askBoth(read);
      if (typeof verdict === "string") return "uncompared";
      if (verdict.outcome !== "different") return told(verdict);
      differences = verdict.samples;
    }
    this.#options.onDifference(read, differences);
    return "different";
  }

  async #askBoth(read: ShadowRead): Promise<Compared | NoReply> {
    const { clients } = this.#options;
    const replies = await Promise.all([clients.legacy.ask(read), clients.new.ask(read)]);
    const [legacy, fresh] = replies;
    try {
      if (typeof legacy === "string") return legacy;
      if (typeof fresh === "string") return fresh;
      const noise = await this.#learn(read, legacy);
      if (typeof noise === "string") return noise;
      return await this.#compare(read, legacy, fresh, noise);
    } finally {
      for (const reply of replies) if (typeof reply !== "string") reply.body.free();
    }
  }

  /** Asks legacy once more, and gives the places where it differs from what it said before. */
  async #learn(read: ShadowRead, before: ShadowReply): Promise<ReadonlySet<string> | NoReply> {
    const again = await this.#options.clients.legacy.ask(read);
    if (typeof again === "string") return again;
    try {
      const verdict = await this.#compare(read, before, again, new Set(), true);
      if (verdict.outcome === "uncompared") return "failed";
      this.#memoryOf(read.route).noise.learn(verdict.places);
      return new Set(verdict.places);
    } finally {
      again.body.free();
    }
  }

  /** @param noise of this very read @param isBare without what was learned before */
  async #compare(
    { route }: ShadowRead,
    a: ShadowReply,
    b: ShadowReply,
    noise: ReadonlySet<string> = new Set(),
    isBare = false,
  ): Promise<Compared> {
    const { bodyBytesMax, showValues: showsValues } = this.#options.settings;
    const memory = this.#memoryOf(route);
    const compared = await this.#comparer.compare(async () => {
      const [left, right] = await Promise.all(
        [a, b].map(({ status, headers, body }) =>
          decodeAnswer(status, headers, body.whole(), bodyBytesMax),
        ),
      );
      if (left === undefined || right === undefined) return undefined;
      const all = isBare ? noise : new Set([...memory.noise.places, ...noise]);
      return { a: left, b: right, rules: memory.rules, noise: all, showsValues };
    });
    if (compared.isNoisy) memory.noisy++;
    return compared;
  }

  #memoryOf(route: RouteSettings): RouteMemory {
    let memory = this.#routes.get(route);
    if (memory === undefined) {
      const { settings } = this.#options;
      memory = { rules: rulesOf(route, settings), noise: new ShadowNoise(), noisy: 0 };
      this.#routes.set(route, memory);
    }
    return memory;
  }

  #endOld(): void {
    const before = performance.now() - this.#options.settings.timeoutMs;
    for (const tap of this.#open) tap.endOlder(before);
  }
}

function told({ outcome }: Compared): ShadowOutcome {
  return outcome === "equal" ? "compared" : outcome;
}

function outcomeOf(reply: NoReply): ShadowOutcome {
  return reply === "dropped" ? "dropped" : "uncompared";
}
