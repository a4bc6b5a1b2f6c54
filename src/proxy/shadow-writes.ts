import type { AnswerTap, BodyTap } from "./answer-tap.ts";
import type { ShadowSettings } from "./settings.ts";
import { ShadowBody, type ShadowBytes } from "./shadow-bytes.ts";
import type { ShadowClient } from "./shadow-client.ts";
import type { ShadowWrite } from "../rollout/shadow-log.ts";
import { Pending } from "../runtime/pending.ts";

/** Writes that are in memory, from their head to the last of both answers. */
const WRITES_MAX = 2_000;

export interface ShadowWritesOptions {
  readonly settings: ShadowSettings;
  /** Of the new service, for writes alone: reads must not stand in their way. */
  readonly client: ShadowClient;
  readonly bytes: ShadowBytes;
  /** Told once of each write that the new service was asked. */
  readonly onMirrored: (write: ShadowWrite) => void;
  /** Told once of each other write that legacy was asked. */
  readonly onDropped: () => void;
}

export interface MirroredRequest {
  readonly method: string;
  readonly target: string;
  readonly headers: readonly string[];
  readonly named: Pick<ShadowWrite, "correlationId" | "streamType" | "route">;
  /** @param body all of it */
  readonly streamIdOf: (body: Buffer | undefined) => string | undefined;
}

export interface Mirror {
  /** For the body, as it goes to legacy. */
  readonly body: BodyTap;
  /** For legacy's answer. */
  readonly answer: AnswerTap;
  /** Legacy begins to get the request. @param body all of it, where it is there already or where there is none */
  send(body: Buffer | undefined): void;
  /** Legacy begins to get a request whose body still comes in. */
  sendStreamed(): void;
}

/** Sends to the new service, in shadow, the writes that legacy gets, at the same time. */
export class ShadowWrites {
  readonly #options: ShadowWritesOptions;
  #underWay = 0;
  /** Of these, those that the new service is asked for. */
  readonly #asked = new Pending();

  constructor(options: ShadowWritesOptions) {
    this.#options = options;
  }

  get underWay(): number {
    return this.#underWay;
  }

  /** Undefined when too many are under way. */
  mirror(request: MirroredRequest): Mirror | undefined {
    if (this.#underWay >= WRITES_MAX) {
      this.#options.onDropped();
      return undefined;
    }
    return new MirroredWrite(this.#options, request, {
      begun: () => this.#underWay++,
      ended: () => this.#underWay--,
      asking: (work) => {
        this.#asked.begin();
        void work.finally(() => this.#asked.end());
      },
    });
  }

  /** After the end of its client: what the new service was asked for has come to something. */
  async rest(): Promise<void> {
    await this.#asked.none();
  }
}

/** Told how a write goes. */
interface Counts {
  readonly begun: () => void;
  readonly ended: () => void;
  /** @param work never fails */
  readonly asking: (work: Promise<void>) => void;
}

type Status = number | undefined | "waiting";

/** One write at both sides. */
class MirroredWrite implements Mirror {
  readonly #options: ShadowWritesOptions;
  readonly #request: MirroredRequest;
  readonly #counts: Counts;
  readonly #body: ShadowBody;
  #isSent = false;
  #isWhole = false;
  #askedAt = new Date(0);
  #streamId: string | undefined;
  #legacy: Status = "waiting";
  #new: Status = "waiting";
  /** Nothing more is done for it. */
  #isOver = false;

  constructor(options: ShadowWritesOptions, request: MirroredRequest, counts: Counts) {
    this.#options = options;
    this.#request = request;
    this.#counts = counts;
    this.#body = new ShadowBody(options.bytes, options.settings.bodyBytesMax);
  }

  readonly body: BodyTap = {
    data: (chunk) => {
      if (!this.#isOver && this.#body.add(chunk) !== undefined) this.#drop();
    },
    end: () => {
      this.#isWhole = true;
      if (this.#isSent) this.#ask(this.#body.whole());
    },
    broke: () => this.#drop(),
  };

  readonly answer: AnswerTap = {
    head: (status) => this.#settleLegacy(status),
    data: () => undefined,
    end: () => undefined,
    broke: () => this.#settleLegacy(undefined),
  };

  send(body: Buffer | undefined): void {
    if (!this.#begin()) return;
    if (body !== undefined && this.#body.add(body) !== undefined) return this.#drop();
    this.#isWhole = true;
    this.#ask(body);
  }

  sendStreamed(): void {
    if (this.#begin() && this.#isWhole) this.#ask(this.#body.whole());
  }

  #begin(): boolean {
    if (this.#isSent) return false;
    this.#isSent = true;
    this.#askedAt = new Date();
    // A body that was too large before legacy began to get it.
    if (this.#isOver) this.#options.onDropped();
    else this.#counts.begun();
    return !this.#isOver;
  }

  #ask(body: Buffer | undefined): void {
    // Legacy's comes first.
    setImmediate(() => this.#counts.asking(this.#askNow(body)));
  }

  async #askNow(body: Buffer | undefined): Promise<void> {
    if (this.#isOver) return;
    const { method, target, headers, streamIdOf } = this.#request;
    const reply = await this.#options.client.ask({ method, target, headers, body }, false);
    if (this.#isOver) return;
    this.#streamId = streamIdOf(body);
    this.#body.free();
    if (reply === "dropped") return this.#drop();
    this.#new = typeof reply === "string" ? undefined : reply.status;
    this.#settle();
  }

  #settleLegacy(status: number | undefined): void {
    if (this.#legacy === "waiting") this.#legacy = status;
    this.#settle();
  }

  #settle(): void {
    if (this.#isOver || this.#legacy === "waiting" || this.#new === "waiting") return;
    this.#end();
    this.#options.onMirrored({
      ...this.#request.named,
      streamId: this.#streamId,
      legacyStatus: this.#legacy,
      newStatus: this.#new,
      askedAt: this.#askedAt,
      answeredAt: new Date(),
    });
  }

  #drop(): void {
    if (this.#isOver) return;
    if (this.#isSent) this.#options.onDropped();
    this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#body.free();
    if (this.#isSent) this.#counts.ended();
  }
}
