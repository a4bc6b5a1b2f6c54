import { setTimeout as sleep } from "node:timers/promises";

export interface TrafficOptions {
  /** Of the shop's HTTP application. */
  readonly shopUrl: string;
  /** The same seed asks for the same things in the same order. */
  readonly seed: number;
  /** Requests per second at most; a slow shop gets fewer. */
  readonly requestsPerSecond: number;
  /** Ends the traffic after the request that is under way. */
  readonly signal: AbortSignal;
  /** Ends it after so many requests; endless when absent. */
  readonly requestsMax?: number;
  /** Told the id of an order that has gone the whole way: placed, paid, shipped, delivered. */
  readonly onDelivered?: (orderId: string) => void;
}

export interface TrafficReport {
  /** Requests that the shop carried out. */
  readonly done: number;
  /** Requests that its rules refused. */
  readonly refused: number;
  /** Requests that failed for another reason. */
  readonly failed: number;
}

/** What customers and staff of the shop do all day, by weight. */
const ACTS = [
  ["place", 30],
  ["pay", 22],
  ["ship", 12],
  ["deliver", 8],
  ["amend", 7],
  ["cancel", 4],
  ["refund", 2],
  ["delete", 2],
  ["merge", 2],
  ["save", 5],
  ["register", 3],
  ["move", 2],
  ["reprice", 0.4],
  ["recount", 1],
  ["rename", 0.6],
] as const;

type Act = (typeof ACTS)[number][0];
const WEIGHT = ACTS.reduce((sum, [, weight]) => sum + weight, 0);
const CITIES = ["Berlin", "Wien", "Zürich", "Århus", "Łódź", "東京"] as const;
/** Open orders that are remembered to do something with later. */
const ORDERS_MAX = 2_000;

/** Asks the shop for one thing after the other until the signal. */
export async function runTraffic(options: TrafficOptions): Promise<TrafficReport> {
  const shopper = new Shopper(options);
  await shopper.learn();
  const started = performance.now();
  const { requestsMax = Infinity, requestsPerSecond, signal } = options;
  for (let asked = 0; asked < requestsMax && !signal.aborted; asked++) {
    const dueMs = started + (asked * 1000) / requestsPerSecond - performance.now();
    if (dueMs > 2) await sleep(dueMs, undefined, { signal }).catch(() => undefined);
    if (!signal.aborted) await shopper.act();
  }
  return shopper.report();
}

class Shopper {
  readonly #shopUrl: string;
  readonly #random: () => number;
  readonly #known: Record<"placed" | "paid" | "shipped" | "any", string[]> = {
    placed: [],
    paid: [],
    shipped: [],
    any: [],
  };
  #skus: string[] = [];
  #tags: string[] = [];
  #customers = 1;
  #registered = 0;
  #renamed = 0;
  #done = 0;
  #refused = 0;
  #failed = 0;
  readonly #onDelivered: (orderId: string) => void;

  constructor({ shopUrl, seed, onDelivered }: TrafficOptions) {
    this.#shopUrl = shopUrl;
    this.#onDelivered = onDelivered ?? (() => undefined);
    this.#random = randomFrom(seed);
    this.#registered = seed * 1_000_000;
  }

  async learn(): Promise<void> {
    const { body } = await this.#ask("GET", "/catalogue", undefined, "traffic");
    const { customers, orders, skus, tags } = body as {
      customers: number;
      orders: string[];
      skus: string[];
      tags: string[];
    };
    this.#customers = customers;
    this.#known.any = orders;
    this.#skus = skus;
    this.#tags = tags;
  }

  async act(): Promise<void> {
    const status = await this.#attempt(this.#pick());
    if (status < 300) this.#done += 1;
    else if (status < 500) this.#refused += 1;
    else this.#failed += 1;
  }

  report(): TrafficReport {
    return { done: this.#done, refused: this.#refused, failed: this.#failed };
  }

  /** @returns the HTTP status, 599 when there was no answer */
  async #attempt(act: Act): Promise<number> {
    const known = this.#known;
    switch (act) {
      case "place": {
        const asked = {
          customerId: String(this.#below(this.#customers) + 1),
          lines: this.#lines(),
        };
        const { status, body } = await this.#ask("POST", "/orders", asked, "web");
        if (status < 300) remember(known.placed, (body as { id: string }).id);
        return status;
      }
      case "pay":
        return await this.#advance(
          "pay",
          known.placed,
          known.paid,
          { cardWorks: this.#random() < 0.85 },
          "web",
        );
      case "ship": {
        const parcelsG = Array.from({ length: 1 + this.#below(3) }, () => 100 + this.#below(9_000));
        return await this.#advance(
          "ship",
          known.paid,
          known.shipped,
          { carrier: this.#one(["post", "bike", "drone"]), parcelsG },
          "warehouse",
        );
      }
      case "deliver": {
        const id = known.shipped[0];
        const status = await this.#advance(
          "deliver",
          known.shipped,
          known.any,
          undefined,
          "carrier",
        );
        if (status < 300 && id !== undefined) this.#onDelivered(id);
        return status;
      }
      case "amend":
        return await this.#toOrder(
          "PUT",
          "",
          known.placed,
          { lines: this.#lines(), note: `gift no. ${this.#below(1000)} “für Åse”` },
          "web",
        );
      case "cancel":
        return await this.#advance(
          "cancel",
          known.placed,
          known.any,
          undefined,
          "support",
          this.#one(["changed my mind", "too slow"]),
        );
      case "refund":
        return await this.#toOrder(
          "POST",
          "/refund",
          known.shipped,
          undefined,
          "support",
          "damaged",
        );
      case "delete":
        return await this.#toOrder("DELETE", "", known.any, undefined, "cleanup job");
      case "merge": {
        const from = known.placed.shift();
        const into = known.placed[0];
        if (from === undefined || into === undefined) return 404;
        return (
          await this.#ask("POST", `/orders/${from}/merge`, { into }, "support", "same parcel")
        ).status;
      }
      case "save":
        return await this.#toOrder("POST", "/save", known.any, undefined, "back office");
      case "register": {
        const n = ++this.#registered;
        const asked = {
          email: `new${n}@example.org`,
          fullName: `Zoë ${n}`,
          city: this.#one(CITIES),
        };
        const { status } = await this.#ask("POST", "/customers", asked, "web");
        return status;
      }
      case "move": {
        const id = 1 + this.#below(this.#customers);
        return (await this.#ask("PUT", `/customers/${id}/city`, { city: this.#one(CITIES) }, "web"))
          .status;
      }
      case "reprice": {
        const asked = { tag: this.#one(this.#tags), factor: 0.9 + this.#random() * 0.2 };
        return (await this.#ask("POST", "/prices", asked, "pricing job", "weekly prices")).status;
      }
      case "recount": {
        const asked = { sku: this.#one(this.#skus), quantity: 200 + this.#below(2000) };
        return (await this.#ask("POST", "/stock/recount", asked, "warehouse", "yearly count"))
          .status;
      }
      case "rename": {
        const place = this.#below(this.#skus.length);
        const sku = this.#skus[place]!;
        const to = `${sku.replace(/\/.*$/, "")}/${++this.#renamed}`;
        const { status } = await this.#ask(
          "POST",
          "/products/rename",
          { sku, to },
          "catalogue import",
        );
        if (status < 300) this.#skus[place] = to;
        return status;
      }
    }
  }

  /** Takes the oldest order of one state a step further. */
  async #advance(
    verb: string,
    from: string[],
    to: string[],
    asked: object | undefined,
    user: string,
    reason?: string,
  ): Promise<number> {
    const id = from.shift();
    if (id === undefined) return 404;
    const { status } = await this.#ask("POST", `/orders/${id}/${verb}`, asked, user, reason);
    if (status < 300) remember(to, id);
    return status;
  }

  async #toOrder(
    method: string,
    path: string,
    among: readonly string[],
    asked: object | undefined,
    user: string,
    reason?: string,
  ): Promise<number> {
    const id = among[this.#below(among.length)];
    if (id === undefined) return 404;
    return (await this.#ask(method, `/orders/${id}${path}`, asked, user, reason)).status;
  }

  async #ask(
    method: string,
    path: string,
    asked: object | undefined,
    user: string,
    reason?: string,
  ): Promise<{ status: number; body: unknown }> {
    try {
      const response = await fetch(`${this.#shopUrl}${path}`, {
        method,
        headers: {
          "x-user": user,
          ...(reason !== undefined && { "x-reason": reason }),
          ...(asked !== undefined && { "content-type": "application/json" }),
        },
        ...(asked !== undefined && { body: JSON.stringify(asked) }),
      });
      return { status: response.status, body: await response.json() };
    } catch {
      return { status: 599, body: undefined };
    }
  }

  #lines(): { sku: string; quantity: number }[] {
    return Array.from({ length: 1 + this.#below(4) }, () => ({
      sku: this.#one(this.#skus),
      quantity: 1 + this.#below(6),
    }));
  }

  #pick(): Act {
    let left = this.#random() * WEIGHT;
    for (const [act, weight] of ACTS) {
      left -= weight;
      if (left < 0) return act;
    }
    return "save";
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #one<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)]!;
  }
}

function remember(list: string[], id: string): void {
  list.push(id);
  if (list.length > ORDERS_MAX) list.shift();
}

/** Numbers in [0, 1) from a 32-bit seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
