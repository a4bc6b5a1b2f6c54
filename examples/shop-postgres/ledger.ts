import { setMaxListeners } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { randomFrom } from "./traffic.ts";

export interface LedgerOptions {
  /** One address for everything: the shop, or the proxy in front of it. */
  readonly shopUrl: string;
  readonly seed: number;
  /** Customers at once, each with orders of its own, which nobody else touches. */
  readonly customers: number;
  /** Of all of them together, at most. */
  readonly requestsPerSecond: number;
  /** Ends it after the requests that are under way. */
  readonly signal: AbortSignal;
  /** Told of what is not as it should be, at once. */
  readonly onProblem?: (problem: string) => void;
}

type Status = "placed" | "paid" | "shipped" | "delivered" | "cancelled" | "refunded" | "deleted";

/** What a customer knows of an order, because it was acknowledged. */
export interface Receipt {
  readonly id: string;
  status: Status;
  lines: readonly Line[];
  /** False after a write without an answer: it may be there, or not. */
  isCertain: boolean;
}

interface Line {
  readonly sku: string;
  readonly quantity: number;
}

export interface LedgerReport {
  readonly requests: number;
  /** Writes that were carried out. */
  readonly acknowledged: number;
  /** Answers that no application gives by its rules: 5xx, 4xx that should not be, and none at all. */
  readonly errors: number;
  /** Reads that did not show what was acknowledged before. */
  readonly stale: number;
  readonly slowestMs: number;
  readonly receipts: readonly Receipt[];
}

/** What can be done with an order in each state, and where it leads. */
const WAYS: Readonly<Record<Status, readonly (readonly [act: string, to: Status])[]>> = {
  placed: [
    ["pay", "paid"],
    ["pay", "paid"],
    ["pay", "paid"],
    ["amend", "placed"],
    ["save", "placed"],
    ["cancel", "cancelled"],
    ["delete", "deleted"],
  ],
  paid: [
    ["ship", "shipped"],
    ["ship", "shipped"],
    ["save", "paid"],
    ["cancel", "cancelled"],
    ["refund", "refunded"],
  ],
  shipped: [
    ["deliver", "delivered"],
    ["refund", "refunded"],
  ],
  delivered: [["refund", "refunded"]],
  cancelled: [["delete", "deleted"]],
  refunded: [],
  deleted: [],
};
/** Orders that a customer has something left to do with, at most. */
const OPEN_MAX = 30;
const ANSWER_MS_MAX = 60_000;
/** Given in place of an answer: none came; nobody was there to be asked, so nothing was done. */
const NO_ANSWER = 599;
const NOT_SENT = 598;

/**
 * Customers who keep their receipts: every acknowledged write with its content, checked by reads in between
 * and, with {@link auditLedger}, in the end. They do nothing that concerns two orders at once.
 */
export async function keepLedger(options: LedgerOptions): Promise<LedgerReport> {
  const { shopUrl, seed, customers, requestsPerSecond, signal } = options;
  const catalogue = (await (await fetch(`${shopUrl}/catalogue`)).json()) as Catalogue;
  const all = Array.from(
    { length: customers },
    (_, n) => new Customer(options, catalogue, randomFrom(seed * 1_000 + n)),
  );
  // Each of them waits with the signal.
  setMaxListeners(customers + 10, signal);
  const everyMs = (1_000 * customers) / requestsPerSecond;
  await Promise.all(
    all.map(async (customer, n) => {
      let dueMs = performance.now() + (everyMs * n) / customers;
      while (!signal.aborted) {
        await sleep(Math.max(0, dueMs - performance.now()), undefined, { signal }).catch(
          () => undefined,
        );
        if (signal.aborted) break;
        await customer.act();
        // Who had to wait does not make up for it with a rush.
        dueMs = Math.max(dueMs + everyMs, performance.now());
      }
    }),
  );
  const sum = (of: (customer: Customer) => number): number =>
    all.reduce((total, customer) => total + of(customer), 0);
  return {
    requests: sum(({ requests }) => requests),
    acknowledged: sum(({ acknowledged }) => acknowledged),
    errors: sum(({ errors }) => errors),
    stale: sum(({ stale }) => stale),
    slowestMs: Math.max(...all.map(({ slowestMs }) => slowestMs)),
    receipts: all.flatMap(({ receipts }) => receipts),
  };
}

interface Catalogue {
  readonly customers: number;
  readonly skus: readonly string[];
}

class Customer {
  requests = 0;
  acknowledged = 0;
  errors = 0;
  stale = 0;
  slowestMs = 0;
  readonly receipts: Receipt[] = [];
  readonly #options: LedgerOptions;
  readonly #catalogue: Catalogue;
  readonly #random: () => number;

  constructor(options: LedgerOptions, catalogue: Catalogue, random: () => number) {
    this.#options = options;
    this.#catalogue = catalogue;
    this.#random = random;
  }

  async act(): Promise<void> {
    const open = this.receipts.filter(
      ({ status, isCertain }) => isCertain && WAYS[status].length > 0,
    );
    const known = this.receipts.filter(({ isCertain }) => isCertain);
    const dice = this.#random();
    if (open.length === 0 || (dice < 0.25 && open.length < OPEN_MAX)) await this.#place();
    else if (dice < 0.5) await this.#look(this.#one(known.slice(-OPEN_MAX)));
    else await this.#goOn(this.#one(open));
  }

  async #place(): Promise<void> {
    const lines = this.#lines();
    const customerId = String(1 + this.#below(this.#catalogue.customers));
    const { status, body } = await this.#ask("POST", "/orders", { customerId, lines });
    if (status === 409) return;
    if (status !== 200) return this.#failed("placing an order", status, body);
    this.acknowledged += 1;
    this.receipts.push({
      id: (body as { id: string }).id,
      status: "placed",
      lines,
      isCertain: true,
    });
  }

  async #look(receipt: Receipt): Promise<void> {
    const { status, body } = await this.#ask("GET", `/orders/${receipt.id}`);
    const isGone = receipt.status === "deleted";
    if (status !== 200 && !(isGone && status === 404))
      return this.#failed(`looking at order ${receipt.id}, ${receipt.status}`, status, body);
    const difference = differenceOf(receipt, status === 404 ? undefined : (body as OrderDocument));
    if (difference === undefined) return;
    this.stale += 1;
    this.#options.onProblem?.(`order ${receipt.id}: ${difference}`);
  }

  async #goOn(receipt: Receipt): Promise<void> {
    const [act, to] = this.#one(WAYS[receipt.status]);
    const lines = act === "amend" ? this.#lines() : receipt.lines;
    const { method, path, asked } = this.#requestOf(act, receipt.id, lines);
    const { status, body } = await this.#ask(method, path, asked);
    if (status !== 200) {
      receipt.isCertain = status === NOT_SENT;
      return this.#failed(`${act} of order ${receipt.id}, ${receipt.status}`, status, body);
    }
    this.acknowledged += 1;
    receipt.status = to;
    receipt.lines = lines;
  }

  #requestOf(
    act: string,
    id: string,
    lines: readonly Line[],
  ): { method: string; path: string; asked?: object } {
    switch (act) {
      case "amend":
        return { method: "PUT", path: `/orders/${id}`, asked: { lines } };
      case "delete":
        return { method: "DELETE", path: `/orders/${id}` };
      case "pay":
        return {
          method: "POST",
          path: `/orders/${id}/pay`,
          asked: { cardWorks: this.#random() < 0.8 },
        };
      case "ship": {
        const asked = { carrier: "post", parcelsG: [100 + this.#below(9_000)] };
        return { method: "POST", path: `/orders/${id}/ship`, asked };
      }
      default:
        return { method: "POST", path: `/orders/${id}/${act}` };
    }
  }

  async #ask(
    method: string,
    path: string,
    asked?: object,
  ): Promise<{ status: number; body: unknown }> {
    this.requests += 1;
    const startedMs = performance.now();
    try {
      const response = await fetch(`${this.#options.shopUrl}${path}`, {
        method,
        headers: {
          "x-user": "ledger",
          ...(asked !== undefined && { "content-type": "application/json" }),
        },
        ...(asked !== undefined && { body: JSON.stringify(asked) }),
        signal: AbortSignal.timeout(ANSWER_MS_MAX),
      });
      const text = await response.text();
      const isJson = response.headers.get("content-type")?.includes("json") === true;
      return { status: response.status, body: isJson ? (JSON.parse(text) as unknown) : text };
    } catch (error) {
      const cause = (error as { cause?: { code?: string } }).cause;
      const status = cause?.code === "ECONNREFUSED" ? NOT_SENT : NO_ANSWER;
      return { status, body: String(cause ?? error) };
    } finally {
      this.slowestMs = Math.max(this.slowestMs, performance.now() - startedMs);
    }
  }

  #failed(what: string, status: number, body: unknown): void {
    this.errors += 1;
    this.#options.onProblem?.(`${what}: ${status} ${JSON.stringify(body)}`);
  }

  /**
   * No product twice: legacy prices each line by itself, in any case. And in the order of products: it takes
   * stock line by line, and refuses one of two orders that take the same pieces the other way round (a deadlock).
   */
  #lines(): Line[] {
    const skus = new Set(
      Array.from({ length: 1 + this.#below(4) }, () => this.#one(this.#catalogue.skus)),
    );
    return [...skus].sort().map((sku) => ({ sku, quantity: 1 + this.#below(6) }));
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit);
  }

  #one<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)]!;
  }
}

/** An order as the shop answers it. */
export interface OrderDocument {
  readonly status: string;
  readonly lines: readonly Line[];
}

/** In what an order is not as its receipt says. Undefined when it is. */
function differenceOf(
  { status, lines }: Receipt,
  order: OrderDocument | undefined,
): string | undefined {
  if (order === undefined) return status === "deleted" ? undefined : `is gone, was ${status}`;
  if (order.status !== status) return `is ${order.status}, was ${status}`;
  const [is, was] = [order.lines, lines].map((some) =>
    some.map(({ sku, quantity }) => `${quantity} × ${sku}`).join(", "),
  );
  return is === was ? undefined : `has ${is}; was ${was}`;
}

/** Reads at once while the receipts are checked in the end. */
const AUDITED_AT_ONCE = 8;

/**
 * Compares every receipt with what a side has.
 *
 * @param read an order as that side has it; undefined when it has none
 * @returns what was acknowledged and is not there as it should be
 */
export async function auditLedger(
  receipts: readonly Receipt[],
  read: (id: string) => Promise<OrderDocument | undefined>,
): Promise<readonly string[]> {
  const lost: string[] = [];
  const left = receipts.filter(({ isCertain }) => isCertain).values();
  const audit = async (): Promise<void> => {
    for (const receipt of left) {
      const difference = differenceOf(receipt, await read(receipt.id));
      if (difference !== undefined) lost.push(`order ${receipt.id}: ${difference}`);
    }
  };
  await Promise.all(Array.from({ length: AUDITED_AT_ONCE }, audit));
  return lost;
}
