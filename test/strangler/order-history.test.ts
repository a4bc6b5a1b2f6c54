import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { seededRandom } from "../support/seeded-random.ts";
import {
  orderModel,
  unexplained,
  workOnOrders,
  type OrderHistory,
  type OrderInput,
  type OrderShop,
  type OrderState,
} from "./order-history.ts";

/*
 * Two shops of which one has authority, with the hold of a move between them, all in memory: once as it
 * should be, and once with each mistake that the histories of the real one are to show.
 */

type Mistake =
  "holds nothing back" | "does not wait for the other side" | "does not look at the version";

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? 7);
/** Until so much was done; a machine that is busy takes longer for it. */
const ANSWERS_MIN = 300;
const MOVES_MIN = 30;
const RUN_MS_MAX = 40_000;
/** Runs in one of which a mistake is to show: whether it does depends on who comes between whom. */
const RUNS_MAX = 20;
const MOVE_EVERY_MS = 15;

/** A shop that answers after a while, and decides on what it read before, looking whether that still holds. */
class Side {
  readonly orders = new Map<string, { state: OrderState; version: number }>();
  readonly #mistake: Mistake | undefined;
  readonly #random: () => number;

  constructor(random: () => number, mistake: Mistake | undefined) {
    this.#random = random;
    this.#mistake = mistake;
  }

  async ask(id: string, input: OrderInput): Promise<string> {
    for (;;) {
      await this.#while();
      const read = this.orders.get(id)!;
      const { state, output } = orderModel(0).step(read.state, input);
      if (output !== "ok") return output;
      await this.#while();
      const isStale = this.orders.get(id)!.version !== read.version;
      if (isStale && this.#mistake !== "does not look at the version") continue;
      this.orders.set(id, { state, version: read.version + 1 });
      await this.#while();
      return output;
    }
  }

  #while(): Promise<void> {
    return sleep(3 * this.#random());
  }
}

async function history(
  mistake: Mistake | undefined,
  seed = SEED,
): Promise<readonly OrderHistory[]> {
  const random = seededRandom(seed);
  const sides = [new Side(random, mistake), new Side(random, mistake)] as const;
  let authority: 0 | 1 = 0;
  let underWay = 0;
  let answers = 0;
  let moves = 0;
  let hold: Promise<void> = Promise.resolve();
  const end = new AbortController();

  const shop: OrderShop = {
    async place(quantity) {
      await hold;
      const id = String(sides[0].orders.size + 1);
      for (const side of sides)
        side.orders.set(id, { state: { status: "placed", quantity }, version: 1 });
      return id;
    },
    async ask(id, input) {
      if (mistake !== "holds nothing back") await hold;
      underWay += 1;
      try {
        return await sides[authority].ask(id, input);
      } finally {
        underWay -= 1;
        answers += 1;
      }
    },
  };
  /** The other side gets what there is, and then authority. */
  const move = async (): Promise<void> => {
    while (underWay > 0 && mistake !== "holds nothing back") await sleep(1);
    const other = authority === 0 ? 1 : 0;
    const news = [...sides[authority].orders];
    const bring = (): void => news.forEach(([id, one]) => void sides[other].orders.set(id, one));
    if (mistake !== "does not wait for the other side") bring();
    else setTimeout(bring, 5);
    authority = other;
  };
  const moving = (async () => {
    while (!end.signal.aborted) {
      await sleep(MOVE_EVERY_MS * random());
      await (hold = move());
      moves += 1;
      if (answers >= ANSWERS_MIN && moves >= MOVES_MIN) end.abort();
    }
  })();
  const timer = setTimeout(() => end.abort(), RUN_MS_MAX);
  const found = await workOnOrders(
    { random, shops: [shop], clients: 4, orders: 2, pauseMsMax: 1 },
    end.signal,
  );
  clearTimeout(timer);
  await moving;
  return found;
}

describe(`orders that move between two shops (seed ${SEED})`, () => {
  test("are each asked one thing after the other, as their clients see it", async () => {
    const histories = await history(undefined);
    expect(histories.flatMap(({ operations }) => operations).length).toBeGreaterThan(100);
    expect(unexplained(histories)).toEqual([]);
  });

  test.each<Mistake>([
    "holds nothing back",
    "does not wait for the other side",
    "does not look at the version",
  ])("show a move or a service that %s", async (mistake) => {
    for (let run = 0; run < RUNS_MAX; run++)
      if (unexplained(await history(mistake, SEED + run)).length > 0) return;
    expect.unreachable("no history of so many shows it");
  });
});
