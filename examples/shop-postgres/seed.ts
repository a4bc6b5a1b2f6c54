import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";

export interface SeedOptions {
  readonly url: string;
  /** Orders; everything else is in proportion. */
  readonly orders: number;
  /** The same seed gives the same rows. */
  readonly seed: number;
  /** Adds the audit triggers of audit.sql. */
  readonly audit?: boolean;
}

/** Makes the shop's tables in an empty database and fills them. @returns rows in all tables */
export async function seedShop({ url, orders, seed, audit = false }: SeedOptions): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(shopSql("schema.sql"));
    await client.query("SELECT setseed($1)", [((seed * 7919) % 1_000_003) / 1_000_003]);
    const customers = Math.max(10, Math.round(orders / 4));
    const products = Math.max(10, Math.min(2_000, Math.round(orders / 40)));
    for (const [sql, ...values] of statements(customers, products, orders))
      await client.query(sql, values);
    await client.query("ANALYZE");
    if (audit) await client.query(shopSql("audit.sql"));
    const { rows } = await client.query<{ rows: number }>(
      `SELECT ${TABLES.map((table) => `(SELECT count(*) FROM ${table})`).join(" + ")} AS rows`,
    );
    return Number(rows[0]!.rows);
  } finally {
    await client.end();
  }
}

/** Runs what `banyan check` printed. */
export async function runStatements(url: string, statements: readonly string[]): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await client.end();
  }
}

export const TABLES = [
  "customers",
  "products",
  "stock_levels",
  "orders",
  "order_lines",
  "payments",
  "shipments",
] as const;

/** One of the SQL files beside this one (in the package: of the folder that this one was compiled from). */
export function shopSql(name: "schema.sql" | "audit.sql"): string {
  return readFileSync(join(shopFolder(), name), "utf8");
}

/** The folder with the SQL files and banyan.config.ts. */
export function shopFolder(): string {
  const beside = import.meta.dirname;
  return existsSync(join(beside, "schema.sql"))
    ? beside
    : join(beside, "../../../examples/shop-postgres");
}

type Statement = readonly [sql: string, ...values: readonly unknown[]];

/** One session runs them in this order, so that `random()` gives the same numbers each time. */
function statements(customers: number, products: number, orders: number): readonly Statement[] {
  return [
    [
      `INSERT INTO customers (email, full_name, phone, address, loyalty_points, marketing_ok, registered_at, updated_at)
       SELECT 'customer' || n || '@example.org',
              (ARRAY['Ada','Grace','Edsger','Barbara','Donald','Frances','Niklaus','Radia'])[1 + floor(random() * 8)] || ' ' ||
              (ARRAY['Ölander','O''Brien','Müller','Núñez','Šimić','Søby','李','van den Berg'])[1 + floor(random() * 8)],
              CASE WHEN random() < 0.6 THEN '+49 30 ' || floor(random() * 1e7)::int END,
              jsonb_build_object('street', 'Lindenstraße ' || floor(random() * 200)::int,
                                 'city', (ARRAY['Berlin','Wien','Zürich','Århus'])[1 + floor(random() * 4)], 'zip', lpad(n::text, 5, '0')),
              floor(random() * 900)::int, random() < 0.3, t, t
         FROM generate_series(1, $1::int) n, LATERAL (SELECT timestamptz '2024-01-01' + n * interval '97.013 s' AS t) s`,
      customers,
    ],
    [
      `INSERT INTO products (sku, name, price, tags, box_cm, weight_kg, details, updated_at)
       SELECT 'SKU-' || lpad(n::text, 5, '0'), 'Article ' || n, round((1 + random() * 400)::numeric, 2),
              CASE WHEN n % 7 = 0 THEN '{}' ELSE ARRAY[(ARRAY['tea','books','garden','toys'])[1 + n % 4], 'shelf ' || n % 12] END,
              CASE WHEN n % 3 > 0 THEN ARRAY[n % 50, 12.5, NULL] END, (random() * 20)::real,
              jsonb_build_object('care', 'by hand', 'text', (SELECT string_agg(md5(n::text || '/' || i), ' ') FROM generate_series(1, 120) i)),
              timestamptz '2024-01-01' + n * interval '1 min'
         FROM generate_series(1, $1::int) n`,
      products,
    ],
    [
      `INSERT INTO stock_levels (warehouse, sku, quantity, reorder_level, counted_on)
       SELECT w, sku, 500 + floor(random() * 5000)::int, CASE WHEN random() < 0.5 THEN 50 END, date '2024-03-01'
         FROM products, unnest(ARRAY['Berlin','Wien','Århus']) w ORDER BY sku, w`,
    ],
    [
      `INSERT INTO orders (customer_id, status, ship_to, note, placed_at, paid_at, updated_at)
       SELECT 1 + floor(random() * $2)::int, s, jsonb_build_object('city', 'Berlin'), CASE WHEN n % 11 = 0 THEN E'leave at the\\tback "door"\\n' END,
              t, CASE WHEN s <> 'placed' THEN t + interval '5 min' END, t + interval '1 day'
         FROM generate_series(1, $1::int) n,
              LATERAL (SELECT (ARRAY['placed','paid','shipped','delivered']::order_status[])[1 + floor(random() * 4 + n * 0)] AS s,
                              timestamptz '2025-01-01' + n * interval '31.000207 s' AS t) d`,
      orders,
      customers,
    ],
    [
      `INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price, discount)
       SELECT o.id, l, 'SKU-' || lpad((1 + floor(random() * $1))::int::text, 5, '0'), 1 + floor(random() * 6)::int,
              round((1 + random() * 400)::numeric, 2), CASE WHEN random() < 0.2 THEN 0.1 END
         FROM orders o, generate_series(1, 1 + (o.id % 4)::int) l ORDER BY o.id, l`,
      products,
    ],
    [
      `UPDATE orders SET total = (SELECT round(sum(quantity * unit_price * (1 - coalesce(discount, 0))), 2)
                                    FROM order_lines WHERE order_id = orders.id)`,
    ],
    [
      `INSERT INTO payments (id, order_id, method, amount, response, captured_at)
       SELECT md5('payment ' || id)::uuid, id, CASE WHEN id % 3 = 0 THEN 'invoice' ELSE 'card' END::payment_method, total,
              CASE WHEN id % 3 > 0 THEN jsonb_build_object('approved', true, 'code', '00') END, paid_at
         FROM orders WHERE paid_at IS NOT NULL ORDER BY id`,
    ],
    [
      `INSERT INTO shipments (order_id, carrier, parcels_g, transit, label, shipped_at, delivered_at)
       SELECT id, (ARRAY['post','bike','drone'])[1 + id % 3], ARRAY[100 + id % 900, NULL]::int[],
              CASE WHEN status = 'delivered' THEN make_interval(days => (id % 5)::int, hours => 3) END,
              decode(md5(id::text), 'hex'), paid_at + interval '2 h', CASE WHEN status = 'delivered' THEN paid_at + interval '2 days' END
         FROM orders WHERE status IN ('shipped', 'delivered') ORDER BY id`,
    ],
  ];
}
