import { setTimeout as sleep } from "node:timers/promises";
import { linearize, type Operation, type SequentialModel } from "../support/linearizable.ts";

/** What a client wants of one order. */
export type OrderInput =
  | { readonly act: "read" | "pay" | "ship" | "deliver" | "cancel" | "refund" | "save" | "delete" }
  | { readonly act: "amend"; readonly quantity: number };

/** `placed 7` of an order with 7 pieces for a read; `ok`, `refused` and `gone` of a write; `gone` of both. */
export type OrderOutput = string;

type Status = "placed" | "paid" | "shipped" | "delivered" | "cancelled" | "refunded" | "gone";

export interface OrderState {
  readonly status: Status;
  /** Of its only line: what an amendment writes. */
  readonly quantity: number;
}

/** States in which an act is allowed, and where it leads. */
const RULES: Readonly<Record<string, readonly [from: readonly Status[], to: Status]>> = {
  pay: [["placed"], "paid"],
  ship: [["paid"], "shipped"],
  deliver: [["shipped"], "delivered"],
  cancel: [["placed", "paid"], "cancelled"],
  refund: [["paid", "shipped", "delivered"], "refunded"],
};

/** One order as the shop has it, asked one thing after the other. */
export function orderModel(quantity: number): SequentialModel<OrderState, OrderInput, OrderOutput> {
  return {
    initial: { status: "placed", quantity },
    step: (state, input) => {
      if (state.status === "gone") return { state, output: "gone" };
      const refused = { state, output: "refused" };
      const become = (next: OrderState): { state: OrderState; output: string } => ({
        state: next,
        output: "ok",
      });
      switch (input.act) {
        case "read":
          return { state, output: `${state.status} ${state.quantity}` };
        case "save":
          return become(state);
        case "delete":
          return become({ ...state, status: "gone" });
        case "amend":
          return state.status === "placed"
            ? become({ ...state, quantity: input.quantity })
            : refused;
        default: {
          const [from, to] = RULES[input.act]!;
          return from.includes(state.status) ? become({ ...state, status: to }) : refused;
        }
      }
    },
    agrees: (given, expected) => given === expected,
    keyOf: ({ status, quantity: pieces }) => `${status} ${pieces}`,
  };
}

/** A shop, however it is reached. @throws when no answer came */
export interface OrderShop {
  /** @returns its id; the order has one line of so many pieces */
  place(quantity: number): Promise<string>;
  /** @returns undefined when it cannot be told whether it was done */
  ask(id: string, input: OrderInput): Promise<OrderOutput | undefined>;
}

export interface ClientsOptions {
  readonly random: () => number;
  /** Each goes through the next of these, so several proxies are used at once. */
  readonly shops: readonly OrderShop[];
  readonly clients: number;
  /** That all of them are at work on at once. */
  readonly orders: number;
  /** Of each client, between two requests, at most. */
  readonly pauseMsMax: number;
}

export interface OrderHistory {
  readonly id: string;
  readonly placedQuantity: number;
  readonly operations: Operation<OrderInput, OrderOutput>[];
}

/** What one order is asked at most: then another takes its place. */
const OPERATIONS_MAX = 120;
/** Requests whose outcome nobody knows, of one order: each of them may come between any two others. */
const UNKNOWN_MAX = 6;
const PLACE_PAUSE_MS = 100;

/** Clients who all work on the same few orders until the signal. @returns what each order was asked and said */
export async function workOnOrders(
  { random, shops, clients, orders, pauseMsMax }: ClientsOptions,
  signal: AbortSignal,
): Promise<readonly OrderHistory[]> {
  const all: OrderHistory[] = [];
  const open: (OrderHistory | undefined)[] = Array.from({ length: orders });
  let lastQuantity = 0;
  // No two amendments write the same, so that each read tells which it saw.
  const nextQuantity = (): number => (lastQuantity = (lastQuantity % 999) + 1);

  const place = async (n: number, shop: OrderShop): Promise<void> => {
    const placedQuantity = nextQuantity();
    const id = await shop.place(placedQuantity).catch(() => undefined);
    if (id === undefined) return await sleep(PLACE_PAUSE_MS);
    open[n] = { id, placedQuantity, operations: [] };
    all.push(open[n]);
  };
  const act = async (n: number, order: OrderHistory, shop: OrderShop): Promise<void> => {
    const input = drawn(random, nextQuantity);
    const calledAtMs = performance.now();
    const output = await shop.ask(order.id, input).catch(() => undefined);
    const returnedAtMs = output === undefined ? Number.POSITIVE_INFINITY : performance.now();
    if (output === undefined && input.act === "read") return;
    order.operations.push({ input, output, calledAtMs, returnedAtMs });
    const unknown = order.operations.filter((one) => one.output === undefined).length;
    const isOver = order.operations.length >= OPERATIONS_MAX || unknown >= UNKNOWN_MAX;
    // Where nothing more happens, a few reads are enough.
    const isDone = order.operations.slice(-8).every((one) => one.output !== "ok");
    if ((isOver || (isDone && order.operations.length > 20)) && open[n] === order)
      open[n] = undefined;
  };
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const shop = shops[client % shops.length]!;
      while (!signal.aborted) {
        const n = Math.floor(random() * orders);
        const order = open[n];
        // One client for each order to be placed; the others go on with what is there.
        if (order !== undefined) await act(n, order, shop);
        else if (n % clients === client || clients === 1) await place(n, shop);
        await sleep(random() * pauseMsMax);
      }
    }),
  );
  return all;
}

function drawn(random: () => number, nextQuantity: () => number): OrderInput {
  const dice = random();
  if (dice < 0.4) return { act: "read" };
  if (dice < 0.85) return { act: "amend", quantity: nextQuantity() };
  const acts = ["pay", "pay", "ship", "ship", "deliver", "refund", "save", "cancel"] as const;
  if (dice > 0.995) return { act: "delete" };
  return { act: acts[Math.floor(random() * acts.length)]! };
}

/** Orders whose history no order of what was asked explains. @returns each with its last steps that are explained, and what follows */
export function unexplained(histories: readonly OrderHistory[]): readonly string[] {
  return histories.flatMap(({ id, placedQuantity, operations }) => {
    const { isLinearizable, longest } = linearize(operations, orderModel(placedQuantity));
    if (isLinearizable) return [];
    const left = operations
      .filter((one) => !longest.includes(one))
      .toSorted((a, b) => a.calledAtMs - b.calledAtMs);
    const told = [...longest.slice(-12), "and then none of", ...left.slice(0, 8)].map((one) =>
      typeof one === "string" ? one : tellOperation(one),
    );
    return [`order ${id}, placed with ${placedQuantity}:\n  ${told.join("\n  ")}`];
  });
}

function tellOperation({
  input,
  output,
  calledAtMs,
  returnedAtMs,
}: Operation<OrderInput, OrderOutput>): string {
  const what = input.act === "amend" ? `amend ${input.quantity}` : input.act;
  return `${calledAtMs.toFixed(0)}–${returnedAtMs.toFixed(0)} ms ${what}: ${output ?? "no answer"}`;
}
