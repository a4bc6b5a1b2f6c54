import { createHash, randomUUID } from "node:crypto";
import type { AggregateStore, Aggregates, Draft, RequestContext, StateOf } from "banyan";
import type config from "./banyan.config.ts";
import { Refusal, type NewLine, type OrderDesk } from "./order-desk.ts";
import { totalOf, transitOf, type PricedLine } from "./order-sums.ts";

type Streams = (typeof config)["streams"];
type OrderStream = Streams["order"];
type Order = StateOf<OrderStream>;
type Line = Order["lines"][number];

/** Mistakes that a rewritten application may well have, to see them caught. */
export interface Bugs {
  /** Totals are cut off after the cents instead of rounded. */
  readonly rounding: boolean;
  /** Nobody looks whether an order may still be cancelled. */
  readonly statusRule: boolean;
}

const INT8_MAX = 2n ** 63n - 1n;
const INT4_MAX = 2 ** 31 - 1;
const DISCOUNT_FROM = 5;

/**
 * Orders as streams of events, in place of the legacy application's transactions.
 *
 * Customers and products are still legacy's: they are read as the capture tells them, and what legacy does
 * to them along with an order (stock taken, points granted) is not done here.
 */
export class NewOrders implements OrderDesk<RequestContext> {
  readonly #orders: Aggregates<OrderStream>;
  readonly #customers: Aggregates<Streams["customer"]>;
  readonly #products: Aggregates<Streams["product"]>;
  readonly #bugs: Bugs;

  constructor(store: AggregateStore<Streams>, bugs: Bugs) {
    this.#orders = store.aggregates("order");
    this.#customers = store.aggregates("customer");
    this.#products = store.aggregates("product");
    this.#bugs = bugs;
  }

  async order(id: string): Promise<unknown> {
    const { state } = await this.#orders.load(plain(id));
    return document(found(state, id));
  }

  async placeOrder(
    customerId: string,
    wanted: readonly NewLine[],
    context: RequestContext,
  ): Promise<string> {
    const { OrderPlaced } = this.#orders.events;
    const { id } = await this.#orders.create(context, async (order_id) => {
      const { shipTo, lines } = await this.#basket(customerId, wanted, context);
      const now = new Date().toISOString();
      return [
        OrderPlaced({
          id: order_id,
          customer_id: int8(customerId),
          status: "placed",
          total: totalOf(lines, this.#bugs.rounding),
          currency: "EUR",
          ship_to: shipTo,
          placed_at: now,
          updated_at: now,
          lines: lines.map((line) => ({ ...line, order_id })),
        }),
      ];
    });
    return id;
  }

  async payOrder(id: string, cardWorks: boolean, context: RequestContext): Promise<void> {
    const { OrderPaid, PaymentCaptured } = this.#orders.events;
    await this.#change(context, id, ["placed"], (order) => {
      const now = new Date().toISOString();
      const payment = {
        id: randomUUID(),
        order_id: order.id,
        amount: order.total,
        refunded: "0",
        captured_at: now,
      };
      const approved = JSON.stringify({ approved: true, code: "00" });
      return [
        cardWorks
          ? PaymentCaptured({ ...payment, method: "card", response: approved })
          : PaymentCaptured({ ...payment, method: "invoice" }),
        OrderPaid({ paid_at: now, updated_at: now }),
      ];
    });
  }

  async shipOrder(
    id: string,
    carrier: string,
    parcelsG: readonly number[],
    context: RequestContext,
  ): Promise<void> {
    const { ParcelsShipped, OrderShipped } = this.#orders.events;
    await this.#change(context, id, ["paid"], async (order) => {
      const tooHeavy = parcelsG.find((grams) => Math.abs(grams) > INT4_MAX);
      if (tooHeavy !== undefined)
        throw new Refusal(409, `value "${tooHeavy}" is out of range for type integer`);
      const now = new Date().toISOString();
      return [
        ParcelsShipped({
          id: await this.#orders.newRowId(context, "shipments"),
          order_id: order.id,
          carrier,
          parcels_g: `{${parcelsG.join(",")}}`,
          label: createHash("md5").update(`${order.id}${carrier}`).digest("base64"),
          shipped_at: now,
        }),
        OrderShipped({ updated_at: now }),
      ];
    });
  }

  async deliverOrder(id: string, context: RequestContext): Promise<void> {
    await this.#change(context, id, ["shipped"], (order) => {
      const now = new Date().toISOString();
      const shipments = order.shipments.map((shipment) => {
        return { ...shipment, delivered_at: now, transit: transitOf(shipment.shipped_at, now) };
      });
      return [this.#orders.become({ ...order, shipments, status: "delivered", updated_at: now })];
    });
  }

  async amendOrder(
    id: string,
    wanted: readonly NewLine[],
    note: string | undefined,
    context: RequestContext,
  ): Promise<void> {
    await this.#change(context, id, ["placed"], async (order) => {
      const prices = await this.#prices(wanted, context);
      // What there is no article of falls away; the others keep their numbers.
      const lines = wanted.flatMap(({ sku, quantity }, i): Line[] => {
        const unit_price = prices.get(sku);
        if (unit_price === undefined) return [];
        return [{ order_id: order.id, line_no: i + 1, sku, quantity, unit_price, discount: null }];
      });
      return [this.#withLines({ ...order, note: noteText(note) ?? order.note }, lines)];
    });
  }

  async saveUnchanged(id: string, context: RequestContext): Promise<void> {
    await this.#orders.execute(context, plain(id), (order) => {
      found(order, id);
      return [];
    });
  }

  async cancelOrder(id: string, context: RequestContext): Promise<void> {
    const { OrderCancelled } = this.#orders.events;
    const allowed = this.#bugs.statusRule ? undefined : ["placed", "paid"];
    await this.#change(context, id, allowed, (order) => {
      if (order.status === "cancelled") return [];
      const cancel_reason = context.reason ?? "not said";
      return [OrderCancelled({ cancel_reason, updated_at: new Date().toISOString() })];
    });
  }

  async refundOrder(id: string, context: RequestContext): Promise<void> {
    await this.#change(context, id, ["paid", "shipped", "delivered"], (order) => {
      const payments = order.payments.map((payment) => ({ ...payment, refunded: payment.amount }));
      const updated_at = new Date().toISOString();
      return [this.#orders.become({ ...order, payments, status: "refunded", updated_at })];
    });
  }

  async deleteOrder(id: string, context: RequestContext): Promise<void> {
    await this.#change(context, id, undefined, () => [this.#orders.become(undefined)]);
  }

  /**
   * Two aggregates, so two commands: the lines come into the one before they go with the other. In between
   * they are in both; if the other has changed meanwhile, they are taken out again.
   */
  async mergeOrders(from: string, into: string, context: RequestContext): Promise<void> {
    const { lines, version } = await this.#mergeable(from, into, context).catch(
      async (error: unknown) => {
        // There was nothing to decide on yet; in shadow it is a refusal like any other.
        if (error instanceof Refusal) await this.#orders.refuse(context, plain(from));
        throw error;
      },
    );
    let joined: readonly number[] = [];
    await this.#orders.execute(
      context,
      plain(into),
      (order) => {
        const open = allowed(found(order, into), into, ["placed"]);
        const last = Math.max(0, ...open.lines.map(({ line_no }) => line_no));
        const more = lines.map((line) => ({
          ...line,
          order_id: open.id,
          line_no: last + line.line_no,
        }));
        joined = more.map(({ line_no }) => line_no);
        return [this.#withLines(open, [...open.lines, ...more])];
      },
      { command: "merge into" },
    );
    try {
      await this.#orders.execute(
        context,
        plain(from),
        (order, now) => {
          allowed(found(order, from), from, ["placed"]);
          if (now !== version) throw new Refusal(409, `order ${from} was changed meanwhile`);
          return [this.#orders.become(undefined)];
        },
        { command: "merge from" },
      );
    } catch (error) {
      await this.#takeOut(context, plain(into), joined);
      throw error;
    }
  }

  async #takeOut(context: RequestContext, id: string, lineNos: readonly number[]): Promise<void> {
    if (context.mode === "shadow") return;
    await this.#orders.execute(
      context,
      id,
      (order) =>
        order === undefined
          ? []
          : [
              this.#withLines(
                order,
                order.lines.filter(({ line_no }) => !lineNos.includes(line_no)),
              ),
            ],
      { command: "merge undone" },
    );
  }

  async #mergeable(
    from: string,
    into: string,
    context: RequestContext,
  ): Promise<{ lines: readonly Line[]; version: number }> {
    if (from === into) throw new Refusal(422, "an order cannot be merged with itself");
    const loaded = [
      { id: from, ...(await this.#named(from, context)) },
      { id: into, ...(await this.#named(into, context)) },
    ];
    // In the order in which legacy locks them, which says what is refused first.
    for (const { id, order } of loaded.toSorted((a, b) => Number(BigInt(a.id) - BigInt(b.id)))) {
      allowed(found(order, id), id, ["placed"]);
    }
    return { lines: loaded[0]!.order!.lines, version: loaded[0]!.version };
  }

  async #named(
    id: string,
    context: RequestContext,
  ): Promise<{ order: Order | undefined; version: number }> {
    const { state, version } = await this.#orders.load(plain(id), context);
    return { order: state, version };
  }

  /** @param states that the order may have; any when undefined */
  async #change(
    context: RequestContext,
    id: string,
    states: readonly string[] | undefined,
    decide: (
      order: Order,
    ) => readonly Draft<OrderStream>[] | Promise<readonly Draft<OrderStream>[]>,
  ): Promise<void> {
    await this.#orders.execute(context, plain(id), (order) =>
      decide(allowed(found(order, id), id, states)),
    );
  }

  #withLines(order: Order, lines: readonly Line[]): Draft<OrderStream> {
    const total = totalOf(lines, this.#bugs.rounding);
    return this.#orders.become({ ...order, lines, total, updated_at: new Date().toISOString() });
  }

  /** What an order costs and where it goes, if there is enough of everything. */
  async #basket(
    customerId: string,
    wanted: readonly NewLine[],
    context: RequestContext,
  ): Promise<{ shipTo: string; lines: readonly (Omit<Line, "order_id"> & PricedLine)[] }> {
    const { state: customer } = await this.#customers.load(int8(customerId), context);
    if (customer === undefined) throw new Refusal(404, `there is no customer ${customerId}`);
    const skus = [...new Set(wanted.map(({ sku }) => sku))];
    const products = new Map(
      await Promise.all(
        skus.map(async (sku) => [sku, (await this.#products.load(sku, context)).state] as const),
      ),
    );
    const stock = new Map(
      [...products].map(([sku, product]) => [
        sku,
        (product?.stock ?? []).map(({ quantity }) => quantity),
      ]),
    );
    const lines = wanted.map(({ sku, quantity }, i) => {
      const product = products.get(sku);
      takeStock(stock.get(sku)!, sku, quantity);
      const discount = quantity >= DISCOUNT_FROM ? "0.0500" : null;
      return { line_no: i + 1, sku, quantity, unit_price: product!.price, discount };
    });
    return { shipTo: customer.address, lines };
  }

  async #prices(
    wanted: readonly NewLine[],
    context: RequestContext,
  ): Promise<ReadonlyMap<string, string>> {
    const skus = [...new Set(wanted.map(({ sku }) => sku))];
    const priced = await Promise.all(
      skus.map(
        async (sku) => [sku, (await this.#products.load(sku, context)).state?.price] as const,
      ),
    );
    return new Map(priced.flatMap(([sku, price]) => (price === undefined ? [] : [[sku, price]])));
  }
}

/** From the warehouse that has most of it. */
function takeStock(quantities: number[], sku: string, quantity: number): void {
  const most = Math.max(...quantities);
  if (quantities.length === 0 || most < quantity) throw new Refusal(409, `${sku} is out of stock`);
  quantities[quantities.indexOf(most)] = most - quantity;
}

function found(order: Order | undefined, id: string): Order {
  if (order === undefined) throw new Refusal(404, `there is no order ${id}`);
  return order;
}

function allowed(order: Order, id: string, states: readonly string[] | undefined): Order {
  if (states?.includes(order.status) === false)
    throw new Refusal(409, `order ${id} is ${order.status}`);
  return order;
}

/** `007` is order 7. */
function plain(id: string): string {
  return BigInt(id).toString();
}

/** As the legacy database takes a number, with its words for what is none. */
function int8(text: string): string {
  if (!/^\s*[+-]?\d+\s*$/.test(text))
    throw new Refusal(409, `invalid input syntax for type bigint: "${text}"`);
  const value = BigInt(text.trim().replace(/^\+/, ""));
  if (value > INT8_MAX || value < -INT8_MAX - 1n)
    throw new Refusal(409, `value "${text}" is out of range for type bigint`);
  return value.toString();
}

/** Whatever a form sends there; legacy's database makes text of it. */
function noteText(note: unknown): string | undefined {
  if (note === undefined || note === null) return undefined;
  return typeof note === "string" ? note : JSON.stringify(note);
}

/** An order as legacy answers with it: numbers as numbers, members in the order of its database. */
function document(order: Order): unknown {
  return {
    id: Number(order.id),
    note: order.note,
    lines: order.lines
      .toSorted((a, b) => a.line_no - b.line_no)
      .map(({ sku, line_no, discount, quantity, unit_price }) => ({
        sku,
        line_no,
        discount: discount === null ? null : Number(discount),
        order_id: Number(order.id),
        quantity,
        unit_price: Number(unit_price),
      })),
    total: Number(order.total),
    status: order.status,
    paid_at: timeText(order.paid_at),
    ship_to: order.ship_to === null ? null : (JSON.parse(order.ship_to) as unknown),
    currency: order.currency,
    placed_at: timeText(order.placed_at),
    updated_at: timeText(order.updated_at),
    customer_id: Number(order.customer_id),
    cancel_reason: order.cancel_reason,
  };
}

function timeText(time: string | null): string | null {
  return time === null ? null : time.replace(/Z$/, "+00:00");
}
