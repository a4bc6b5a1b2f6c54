import {
  auditLedger,
  type OrderDocument,
  type Receipt,
} from "../../examples/shop-postgres/ledger.ts";
import type { World } from "./world.ts";

/** Every receipt against what legacy's application answers, and against what the new one folds. */
export async function auditBoth(
  { legacyUrl, newUrl }: World,
  receipts: readonly Receipt[],
): Promise<readonly string[]> {
  const sides = [
    ["legacy", legacyUrl],
    ["new", newUrl],
  ] as const;
  const lost = await Promise.all(
    sides.map(async ([side, url]) =>
      (await auditLedger(receipts, (id) => readOrder(url, id))).map((text) => `${side}: ${text}`),
    ),
  );
  return lost.flat();
}

async function readOrder(url: string, id: string): Promise<OrderDocument | undefined> {
  const response = await fetch(`${url}/orders/${id}`);
  if (response.status === 404) return undefined;
  if (response.status !== 200) throw new Error(`order ${id}: ${response.status}`);
  return (await response.json()) as OrderDocument;
}

/** Each customer pays, sends and refunds once at most, so each of these is in a stream once at most. */
const ONCE = [
  "OrderPlaced",
  "OrderPaid",
  "OrderShipped",
  "OrderDelivered",
  "OrderRefunded",
  "OrderDeleted",
];

/**
 * What was done twice, in rows or in events.
 *
 * @param notAnswered placements without an answer: each of them may have become an order
 */
export async function doubled(
  { legacy, store }: World,
  receipts: readonly Receipt[],
  notAnswered: number,
): Promise<readonly string[]> {
  const problems: string[] = [];
  const ids = receipts.map(({ id }) => id);
  if (new Set(ids).size !== ids.length) problems.push("an id was given twice");
  const twice = await store.database.query(
    `SELECT stream_id, type, count(*) FROM witness.events WHERE type = ANY ($1) GROUP BY 1, 2 HAVING count(*) > 1`,
    [ONCE],
  );
  problems.push(...twice.rows.map((row) => `twice: ${JSON.stringify(row)}`));
  for (const table of ["payments", "shipments"]) {
    const { rows } = await legacy.database.query(
      `SELECT order_id, count(*) FROM ${table} WHERE order_id = ANY ($1) GROUP BY 1 HAVING count(*) > 1`,
      [ids],
    );
    problems.push(...rows.map((row) => `${table} twice: ${JSON.stringify(row)}`));
  }
  const { rows } = await store.database.query(
    "SELECT count(DISTINCT stream_id)::int AS placed FROM witness.events WHERE version = 1",
  );
  const { placed } = rows[0] as { placed: number };
  if (placed < ids.length || placed > ids.length + notAnswered)
    problems.push(
      `${placed} orders came of ${ids.length} acknowledged placements and ${notAnswered} others`,
    );
  return problems;
}
