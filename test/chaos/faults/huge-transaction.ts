import { did, didNot, type Fault } from "../fault.ts";
import { between } from "../random.ts";
import { inSession, persist } from "../session.ts";

/** One transaction far beyond what the capture keeps in memory, with a part in it that is rolled back. */
export const hugeTransaction: Fault = {
  name: "huge transaction",
  needs: [],
  isEarly: true,
  async run({ source }, random, signal) {
    const orders = between(random, 1_200, 4_000);
    const commits = random() < 0.85;
    const done = await persist(signal, () =>
      inSession(source.url, (client) =>
        client.query(
          [
            "BEGIN",
            "CREATE TEMPORARY TABLE made (id bigint) ON COMMIT DROP",
            `WITH inserted AS (
             INSERT INTO orders (customer_id, note)
             SELECT 1 + n % 10, repeat(md5(n::text), 8) FROM generate_series(1, ${orders}) n RETURNING id)
           INSERT INTO made SELECT id FROM inserted`,
            `INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price)
           SELECT id, 1, (SELECT min(sku) FROM products), 1, 2.50 FROM made WHERE id % 3 = 0`,
            "UPDATE orders SET status = 'paid', paid_at = now() FROM made WHERE orders.id = made.id AND made.id % 4 = 0",
            "SAVEPOINT tried",
            "UPDATE orders SET status = 'cancelled' FROM made WHERE orders.id = made.id",
            "ROLLBACK TO tried",
            "UPDATE order_lines SET order_id = order_id + 1, line_no = 50 WHERE order_id IN (SELECT id FROM made WHERE id % 9 = 0 AND id + 1 IN (SELECT id FROM made))",
            "DELETE FROM orders USING made WHERE orders.id = made.id AND made.id % 5 = 0",
            commits ? "COMMIT" : "ROLLBACK",
          ].join(";\n"),
        ),
      ),
    );
    if (done === undefined) return didNot(`of ${orders} orders, which did not come to its end`);
    return did(`of ${orders} orders, ${commits ? "committed" : "rolled back at its end"}`);
  },
};
