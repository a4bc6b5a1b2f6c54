import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { SALT, type TwoShops } from "./two-shops.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { sideOf } from "../../src/rollout/side.ts";
import type { ShadowWrite } from "../../src/store/dual-store.ts";
import type { Side, Stage } from "../../src/rollout/stage.ts";
import { noteWrites } from "../support/dual-rows.ts";

export interface Wish {
  readonly method: "POST" | "PUT" | "DELETE";
  /** `/orders`, or what follows `/orders/<id>`: `/pay`, or nothing. */
  readonly verb: string;
  readonly body?: unknown;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

interface Answered extends Answer {
  readonly side: Side;
}

/** Until a process that was killed is back, at most. */
const TRY_MS_MAX = 60_000;
const STREAM_MS_MAX = 60_000;

/** Sends requests where the proxy would send them, with the headers that it gives, and mirrors what it would. */
export class Shopper {
  readonly #shops: TwoShops;
  readonly #random: () => number;
  #stage: Stage = "legacy";
  #share = 0;
  /** How often each side did what: `new POST /pay`. */
  readonly did = new Map<string, number>();

  constructor(shops: TwoShops, random: () => number) {
    this.#shops = shops;
    this.#random = random;
  }

  moveTo(stage: Stage, share: number): void {
    this.#stage = stage;
    this.#share = share;
  }

  #sideOf(id: string): Side {
    const side = sideOf(this.#stage, this.#share, bucketOf(id, SALT), "write");
    if (side === "undecided") throw new Error("a write that names its order has a side");
    return side;
  }

  /** @returns the id of the new order; undefined when it was refused */
  async create(body: unknown): Promise<string | undefined> {
    const drawn = Math.floor(this.#random() * 10_000);
    const wish: Wish = { method: "POST", verb: "/orders", body };
    const { status, text, side } = await this.#ask(
      () => sideOf(this.#stage, this.#share, undefined, "create", drawn) as Side,
      wish,
    );
    if (status >= 400) return undefined;
    const { id } = JSON.parse(text) as { id: string };
    if (side === "legacy" && this.#sideOf(id) === "new") await this.#untilThere(`order-${id}`);
    return id;
  }

  async write(id: string, wish: Wish): Promise<number> {
    return (await this.#ask(() => this.#sideOf(id), wish, id)).status;
  }

  /** Legacy's own, wherever orders are. */
  async changePrices(factor: number): Promise<void> {
    await this.#shops.source.query(
      "UPDATE products SET price = greatest(0.01, round(price * $1::numeric, 2)), updated_at = now()",
      [factor],
    );
  }

  /** As the proxy does when legacy's answer names an order that has moved. */
  async #untilThere(stream: string): Promise<void> {
    for (const deadline = performance.now() + STREAM_MS_MAX; performance.now() < deadline;) {
      const [head] = await this.#shops.store.dual.heads([stream]);
      if (head! > 0) return;
      await sleep(20);
    }
    throw new Error(`${stream} did not come into the store in time`);
  }

  async #ask(side: () => Side, wish: Wish, id?: string): Promise<Answered> {
    const isMirrored = side() === "legacy" && this.#stage !== "legacy";
    const correlationId = randomUUID();
    const askedAtMs = Date.now();
    const [answer, mirrored] = await Promise.all([
      this.#live(side, wish, id, correlationId),
      isMirrored ? this.#send("new", wish, id, correlationId, "shadow") : undefined,
    ]);
    const what = `${answer.side} ${wish.method} ${wish.verb}`;
    if (answer.status < 400) this.did.set(what, (this.did.get(what) ?? 0) + 1);
    if (mirrored !== undefined) {
      const write: ShadowWrite = {
        correlationId,
        streamType: "order",
        // The route names two orders, and therefore none.
        stream: id === undefined || wish.verb === "/merge" ? undefined : `order-${id}`,
        route: `${wish.method} ${id === undefined ? "/orders" : `/orders/:id${wish.verb}`}`,
        legacyStatus: answer.status,
        newStatus: mirrored.status,
        askedAtMs,
        answeredAtMs: Date.now(),
      };
      await noteWrites(this.#shops.events, "shop", [write]);
    }
    return answer;
  }

  /** Until ids are reserved or a move is over, as a client does that is told to come again. */
  async #live(
    sideNow: () => Side,
    wish: Wish,
    id: string | undefined,
    correlationId: string,
  ): Promise<Answered> {
    for (const deadline = performance.now() + TRY_MS_MAX; ;) {
      const side = sideNow();
      const answer = await this.#send(side, wish, id, correlationId, "live");
      if (answer.status < 500 && !/duplicate key/.test(answer.text)) return { ...answer, side };
      const what = `${side} ${wish.method} ${id} ${wish.verb}`;
      if (answer.status !== 503 || performance.now() > deadline)
        throw new Error(`${what}: ${answer.status} ${answer.text}`);
      await sleep(50);
    }
  }

  async #send(
    side: Side,
    { method, verb, body }: Wish,
    id: string | undefined,
    correlationId: string,
    mode: "live" | "shadow",
  ): Promise<Answer> {
    const url = side === "legacy" ? this.#shops.legacyUrl : this.#shops.newUrl;
    const path = id === undefined ? verb : `/orders/${id}${verb}`;
    const response = await fetch(`${url}${path}`, {
      method,
      headers: {
        "x-user": "shopper",
        "banyan-mode": mode,
        "banyan-correlation": correlationId,
        ...(body !== undefined && { "content-type": "application/json" }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    return { status: response.status, text: await response.text() };
  }
}
