import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { AnswerComparer } from "./answer-comparer.ts";
import type { Compared } from "./compared-answers.ts";
import { decodeAnswer } from "./decode-answer.ts";
import type { ReadKind } from "./read-key.ts";
import type { RouteSettings, ShadowSettings } from "./settings.ts";
import type { NoReply, ShadowClient, ShadowReply, ShadowRequest } from "./shadow-client.ts";
import { ShadowNoise, type NoisePlace } from "./shadow-noise.ts";
import { rulesOf } from "./shadow-rules.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import type { Side } from "../rollout/stage.ts";
import type { SampleDifference } from "../rollout/shadow-log.ts";
import { Pending } from "../runtime/pending.ts";
import type { AnswerRulesWithHeaders } from "../verify/compare-answers.ts";

/** Reads that are asked again at once because they differed. */
const RECHECKS_MAX = 64;
/** After so long each, while the sides come in step. */
const RECHECK_MS: readonly number[] = [500, 1_500];

const NOTHING: ReadonlySet<string> = new Set();

export interface ReadJudgeOptions {
  readonly settings: ShadowSettings;
  readonly clients: Readonly<Record<Side, ShadowClient>>;
  /** Told once of each read. */
  readonly onOutcome: (read: JudgedRead, outcome: ShadowOutcome) => void;
  /** Before `onOutcome`. */
  readonly onDifference: (read: JudgedRead, differences: readonly SampleDifference[]) => void;
  /** For tests. */
  readonly recheckMs?: readonly number[] | undefined;
}

/** A read that a client was answered. */
export interface JudgedRead extends ReadKind, ShadowRequest {
  /** See read-key.ts. */
  readonly key: number;
  readonly method: string;
}

/** What was learned of a route. */
export interface RouteNoise {
  /** Its path. */
  readonly route: string;
  /** Comparisons in which something was left out as noise. */
  readonly noisy: number;
  readonly places: readonly NoisePlace[];
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
export class ReadJudge {
  readonly #options: ReadJudgeOptions;
  readonly #routes = new Map<RouteSettings, RouteMemory>();
  readonly #learned = new Set<RouteSettings>();
  readonly #comparer = new AnswerComparer();
  readonly #stop = new AbortController();
  readonly #pending = new Pending();
  #rechecks = 0;

  constructor(options: ReadJudgeOptions) {
    this.#options = options;
    setMaxListeners(RECHECKS_MAX, this.#stop.signal);
  }

  get underWay(): number {
    return this.#pending.count;
  }

  /** What was learned of the routes of which something was since the last time. */
  takeNoise(): readonly RouteNoise[] {
    const changed = [...this.#learned].map((route) => {
      const { noise, noisy } = this.#routes.get(route)!;
      return { route: route.path, noisy, places: noise.known };
    });
    this.#learned.clear();
    return changed;
  }

  /** @param answer what the client got; its body is given back here */
  judge(read: JudgedRead, answer: ShadowReply): void {
    this.#pending.begin();
    void this.#judge(read, answer)
      // A mistake of ours costs one comparison.
      .catch((): ShadowOutcome => "uncompared")
      .then((outcome) => {
        this.#options.onOutcome(read, outcome);
        this.#pending.end();
      });
  }

  /** Ends what is under way. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#comparer.close();
    await this.#pending.none();
  }

  async #judge(read: JudgedRead, answer: ShadowReply): Promise<ShadowOutcome> {
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

  async #first(read: JudgedRead, answer: ShadowReply): Promise<ShadowOutcome> {
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
      if (settings.noise > 0 && Math.random() < settings.noise && typeof legacy !== "string")
        await this.#learn(read, legacy);
      return told(verdict);
    } finally {
      answer.body.free();
      if (typeof other !== "string") other.body.free();
    }
  }

  /** Asks both again until they are equal. */
  async #again(read: JudgedRead): Promise<ShadowOutcome> {
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

  async #askBoth(read: JudgedRead): Promise<Compared | NoReply> {
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
  async #learn(read: JudgedRead, before: ShadowReply): Promise<ReadonlySet<string> | NoReply> {
    const again = await this.#options.clients.legacy.ask(read);
    if (typeof again === "string") return again;
    try {
      const verdict = await this.#compare(read, before, again, NOTHING, true);
      if (verdict.outcome === "uncompared") return "failed";
      this.#memoryOf(read.route).noise.learn(verdict.places);
      this.#learned.add(read.route);
      return new Set(verdict.places);
    } finally {
      again.body.free();
    }
  }

  /** @param noise of this very read @param isBare without what was learned before */
  async #compare(
    { route }: JudgedRead,
    a: ShadowReply,
    b: ShadowReply,
    noise: ReadonlySet<string> = NOTHING,
    isBare = false,
  ): Promise<Compared> {
    const { bodyBytesMax, showValues: showsValues } = this.#options.settings;
    const memory = this.#memoryOf(route);
    const compared = await this.#comparer.compare(() => {
      const [left, right] = [a, b].map(({ status, headers, body }) =>
        decodeAnswer(status, headers, body.whole(), bodyBytesMax),
      );
      if (left === undefined || right === undefined) return undefined;
      const known = isBare ? NOTHING : memory.noise.places;
      const all = noise.size === 0 ? known : new Set([...known, ...noise]);
      return { a: left, b: right, rules: memory.rules, noise: all, showsValues };
    });
    if (compared.isNoisy) {
      memory.noisy++;
      this.#learned.add(route);
    }
    return compared;
  }

  #memoryOf(route: RouteSettings): RouteMemory {
    let memory = this.#routes.get(route);
    if (memory === undefined) {
      const { settings } = this.#options;
      memory = { rules: rulesOf(route, settings), noise: new ShadowNoise(), noisy: 0 };
      this.#routes.set(route, memory);
      this.#learned.add(route);
    }
    return memory;
  }
}

function told({ outcome }: Compared): ShadowOutcome {
  return outcome === "equal" ? "compared" : outcome;
}

function outcomeOf(reply: NoReply): ShadowOutcome {
  return reply === "dropped" ? "dropped" : "uncompared";
}
