import pg from "pg";
import type { CustomerDesk, NewCustomer } from "./customer-routes.ts";
import { Refusal, type Doer, type NewLine, type OrderDesk } from "./order-desk.ts";

type Client = pg.ClientBase;

/**
 * What the shop does to its database, one transaction each.
 *
 * It is written as such applications are: some statements write every column whether it changed or
 * not, a document is replaced by deleting and inserting its rows, an attempt that fails is rolled
 * back to a savepoint.
 */
export class Shop implements OrderDesk<Doer>, CustomerDesk<Doer> {
  readonly #pool: pg.Pool;

  constructor(url: string, sessionsMax = 4) {
    this.#pool = new pg.Pool({ connectionString: url, max: sessionsMax, application_name: "shop" });
    // A broken idle session is replaced by the pool; one in use fails its request, and nothing else.
    this.#pool.on("error", () => undefined);
    this.#pool.on("connect", (client) => client.on("error", () => undefined));
  }

  async close(): Promise<void> {
    await this.#pool.end();
  }

  registerCustomer(customer: NewCustomer, doer: Doer): Promise<string> {
    return this.#transaction(doer, async (client) => {
      const { rows } = await client.query<{ id: string }>(
        `INSERT INTO customers (email, full_name, address) VALUES ($1, $2, jsonb_build_object('city', $3::text))
         ON CONFLICT (email) DO NOTHING RETURNING id`,
        [customer.email, customer.fullName, customer.city],
      );
      return required(rows[0], 409, `there is a customer ${customer.email} already`).id;
    });
  }

  moveCustomer(id: string, city: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const { rowCount } = await client.query(
        `UPDATE customers SET address = address || jsonb_build_object('city', $2::text), updated_at = now() WHERE id = $1`,
        [id, city],
      );
      requireOne(rowCount, "customer", id);
    });
  }

  /** Stock is taken line by line: when it runs out, all that was written before is rolled back. */
  placeOrder(customerId: string, lines: readonly NewLine[], doer: Doer): Promise<string> {
    return this.#transaction(doer, async (client) => {
      const { rows } = await client.query<{ id: string }>(
        `INSERT INTO orders (customer_id, ship_to) SELECT id, address FROM customers WHERE id = $1 RETURNING id`,
        [customerId],
      );
      const { id } = required(rows[0], 404, `there is no customer ${customerId}`);
      for (const [i, { sku, quantity }] of lines.entries()) {
        await takeStock(client, sku, quantity);
        await client.query(
          `INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price, discount)
           SELECT $1, $2, sku, $4, price, CASE WHEN $4 >= 5 THEN 0.05 END FROM products WHERE sku = $3`,
          [id, i + 1, sku, quantity],
        );
      }
      await sumUp(client, id);
      return id;
    });
  }

  /** The card is tried first; when it is declined, only that attempt is undone and an invoice written. */
  payOrder(id: string, cardWorks: boolean, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const order = await lockOrder(client, id, ["placed"]);
      await client.query("SAVEPOINT attempt");
      const paid = `INSERT INTO payments (order_id, method, amount, response) VALUES ($1, $2, $3, $4)`;
      await client.query(paid, [
        id,
        "card",
        order.total,
        { approved: cardWorks, code: cardWorks ? "00" : "51" },
      ]);
      if (!cardWorks) {
        await client.query("ROLLBACK TO SAVEPOINT attempt");
        await client.query(paid, [id, "invoice", order.total, null]);
      }
      await client.query(
        "UPDATE orders SET status = 'paid', paid_at = now(), updated_at = now() WHERE id = $1",
        [id],
      );
      await client.query(
        `UPDATE customers SET loyalty_points = loyalty_points + floor($2::numeric / 10)::int WHERE id = $1`,
        [order.customer_id, order.total],
      );
    });
  }

  shipOrder(id: string, carrier: string, parcelsG: readonly number[], doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      await lockOrder(client, id, ["paid"]);
      await client.query(
        `INSERT INTO shipments (order_id, carrier, parcels_g, label)
         VALUES ($1, $2, $3, decode(md5($1::bigint::text || $2), 'hex'))`,
        [id, carrier, parcelsG],
      );
      await setStatus(client, id, "shipped");
    });
  }

  deliverOrder(id: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      await lockOrder(client, id, ["shipped"]);
      await client.query(
        `UPDATE shipments SET delivered_at = now(), transit = date_trunc('milliseconds', now() - shipped_at) WHERE order_id = $1`,
        [id],
      );
      await setStatus(client, id, "delivered");
    });
  }

  /** The form sends the whole order back: every line is deleted and inserted anew. */
  amendOrder(
    id: string,
    lines: readonly NewLine[],
    note: string | undefined,
    doer: Doer,
  ): Promise<void> {
    return this.#transaction(doer, async (client) => {
      await lockOrder(client, id, ["placed"]);
      await client.query("DELETE FROM order_lines WHERE order_id = $1", [id]);
      await client.query(
        `INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price)
         SELECT $1, l.no, l.sku, l.quantity, p.price
           FROM unnest($2::text[], $3::int[]) WITH ORDINALITY l (sku, quantity, no) JOIN products p USING (sku)`,
        [id, lines.map(({ sku }) => sku), lines.map(({ quantity }) => quantity)],
      );
      await client.query("UPDATE orders SET note = coalesce($2, note) WHERE id = $1", [
        id,
        note ?? null,
      ]);
      await sumUp(client, id);
    });
  }

  /** Saves a form in which nothing was changed: every column is written with the value it had. */
  saveUnchanged(id: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const { rowCount } = await client.query(
        `UPDATE orders SET customer_id = customer_id, status = status, total = total, note = note WHERE id = $1`,
        [id],
      );
      requireOne(rowCount, "order", id);
    });
  }

  cancelOrder(id: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      await lockOrder(client, id, ["placed", "paid"]);
      await client.query(
        "UPDATE orders SET status = 'cancelled', cancel_reason = $2, updated_at = now() WHERE id = $1",
        [id, doer.reason ?? "not said"],
      );
    });
  }

  refundOrder(id: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      await lockOrder(client, id, ["paid", "shipped", "delivered"]);
      await client.query("UPDATE payments SET refunded = amount WHERE order_id = $1", [id]);
      await setStatus(client, id, "refunded");
    });
  }

  /** Lines, payments and shipments go with it, by the database's own cascade. */
  deleteOrder(id: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const { rowCount } = await client.query("DELETE FROM orders WHERE id = $1", [id]);
      requireOne(rowCount, "order", id);
    });
  }

  /** The lines of one open order move to another: their key changes, and with it the order they belong to. */
  mergeOrders(from: string, into: string, doer: Doer): Promise<void> {
    if (from === into)
      return Promise.reject(new Refusal(422, "an order cannot be merged with itself"));
    return this.#transaction(doer, async (client) => {
      // Always in the same order, so that two merges do not wait for each other.
      for (const id of [from, into].sort((a, b) => Number(BigInt(a) - BigInt(b))))
        await lockOrder(client, id, ["placed"]);
      await client.query(
        `UPDATE order_lines SET order_id = $2,
                line_no = line_no + (SELECT coalesce(max(line_no), 0) FROM order_lines WHERE order_id = $2)
          WHERE order_id = $1`,
        [from, into],
      );
      await client.query("DELETE FROM orders WHERE id = $1", [from]);
      await sumUp(client, into);
    });
  }

  /** One statement over many rows. @returns how many products changed */
  changePrices(tag: string, factor: number, doer: Doer): Promise<number> {
    return this.#transaction(doer, async (client) => {
      const { rowCount } = await client.query(
        `UPDATE products SET price = greatest(0.01, round(price * $2::numeric, 2)), updated_at = now()
          WHERE sku IN (SELECT sku FROM products WHERE tags @> ARRAY[$1] ORDER BY sku FOR UPDATE)`,
        [tag, factor],
      );
      return rowCount ?? 0;
    });
  }

  /** A new key for a product; the cascade rewrites the key of its stock and its order lines. */
  renameProduct(sku: string, to: string, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const { rowCount } = await client.query(
        "UPDATE products SET sku = $2, updated_at = now() WHERE sku = $1",
        [sku, to],
      );
      requireOne(rowCount, "product", sku);
    });
  }

  /** Undone and done again in one transaction, as an import does it. */
  recountStock(sku: string, quantity: number, doer: Doer): Promise<void> {
    return this.#transaction(doer, async (client) => {
      const { rows } = await client.query<{ warehouse: string }>(
        "DELETE FROM stock_levels WHERE sku = $1 RETURNING warehouse",
        [sku],
      );
      if (rows.length === 0) throw new Refusal(404, `there is no stock of ${sku}`);
      await client.query(
        `INSERT INTO stock_levels (warehouse, sku, quantity, counted_on) SELECT w, $2, $3, current_date FROM unnest($1::text[]) w`,
        [rows.map(({ warehouse }) => warehouse), sku, quantity],
      );
    });
  }

  async order(id: string): Promise<unknown> {
    const { rows } = await this.#pool.query<{ document: unknown }>(
      `SELECT to_jsonb(o) || jsonb_build_object('lines',
                coalesce((SELECT jsonb_agg(l ORDER BY line_no) FROM order_lines l WHERE order_id = o.id), '[]')) AS document
         FROM orders o WHERE id = $1`,
      [id],
    );
    return required(rows[0], 404, `there is no order ${id}`).document;
  }

  /** Ids of orders and products to do something with, newest first. */
  async catalogue(): Promise<{
    customers: number;
    orders: string[];
    skus: string[];
    tags: string[];
  }> {
    const { rows } = await this.#pool.query<{
      customers: number;
      orders: string[];
      skus: string[];
      tags: string[];
    }>(
      `SELECT (SELECT max(id)::int FROM customers) AS customers,
              ARRAY(SELECT id::text FROM orders ORDER BY id DESC LIMIT 500) AS orders,
              ARRAY(SELECT sku FROM products ORDER BY sku) AS skus,
              ARRAY(SELECT DISTINCT unnest(tags) FROM products ORDER BY 1) AS tags`,
    );
    return rows[0]!;
  }

  async #transaction<T>(doer: Doer, body: (client: Client) => Promise<T>): Promise<T> {
    const client = await this.#pool.connect();
    try {
      await client.query("BEGIN");
      // The one line that turns "a row changed" into "who and why".
      await client.query("SELECT pg_logical_emit_message(true, 'banyan', $1)", [
        JSON.stringify(doer),
      ]);
      const result = await body(client);
      await client.query("COMMIT");
      client.release();
      return result;
    } catch (error) {
      const isUsable = await client.query("ROLLBACK").then(
        () => true,
        () => false,
      );
      client.release(!isUsable);
      throw asRefusal(error);
    }
  }
}

async function takeStock(client: Client, sku: string, quantity: number): Promise<void> {
  const { rowCount } = await client.query(
    `UPDATE stock_levels SET quantity = quantity - $2
      WHERE (warehouse, sku) = (SELECT warehouse, sku FROM stock_levels
                                 WHERE sku = $1 AND quantity >= $2 ORDER BY quantity DESC, warehouse LIMIT 1)
        AND quantity >= $2`,
    [sku, quantity],
  );
  if (rowCount !== 1) throw new Refusal(409, `${sku} is out of stock`);
}

async function sumUp(client: Client, orderId: string): Promise<void> {
  await client.query(
    `UPDATE orders SET updated_at = now(), total = (
       SELECT coalesce(round(sum(quantity * unit_price * (1 - coalesce(discount, 0))), 2), 0)
         FROM order_lines WHERE order_id = $1)
      WHERE id = $1`,
    [orderId],
  );
}

async function setStatus(client: Client, id: string, status: string): Promise<void> {
  await client.query("UPDATE orders SET status = $2, updated_at = now() WHERE id = $1", [
    id,
    status,
  ]);
}

async function lockOrder(
  client: Client,
  id: string,
  allowed: readonly string[],
): Promise<{ total: string; customer_id: string }> {
  const { rows } = await client.query<{ total: string; customer_id: string; status: string }>(
    "SELECT total, customer_id, status FROM orders WHERE id = $1 FOR UPDATE",
    [id],
  );
  const order = required(rows[0], 404, `there is no order ${id}`);
  if (!allowed.includes(order.status)) throw new Refusal(409, `order ${id} is ${order.status}`);
  return order;
}

function required<T>(row: T | undefined, status: 404 | 409, message: string): T {
  if (row === undefined) throw new Refusal(status, message);
  return row;
}

function requireOne(rowCount: number | null, what: string, id: string): void {
  if (rowCount !== 1) throw new Refusal(404, `there is no ${what} ${id}`);
}

/** SQLSTATE of what the data forbids, a number that is none, and two transactions in each other's way. */
const REFUSED = new Set(["22003", "22P02", "23503", "23505", "23514", "40001", "40P01"]);

function asRefusal(error: unknown): unknown {
  if (error instanceof pg.DatabaseError && REFUSED.has(error.code ?? ""))
    return new Refusal(409, error.message);
  return error;
}
