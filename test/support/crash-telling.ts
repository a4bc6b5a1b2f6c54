/** A JSON value of one column, as events hold it. */
export type Json = string | number | boolean | null;
/** A row or a part of one, by column. */
export type Row = Readonly<Record<string, Json>>;

/** An event as it lies in the store. */
export interface AuditedEvent {
  readonly id: string;
  readonly stream: string;
  readonly version: number;
  readonly type: string;
  readonly origin: string;
  /** Null for a baseline event. */
  readonly transaction: string | null;
  readonly position: string;
  readonly causation: string | null;
  readonly data: Readonly<Record<string, unknown>>;
}

/** One row change, as its events tell it. */
export interface Told {
  readonly transaction: string;
  readonly relation: string;
  readonly kind: "insert" | "update" | "delete" | "move" | "unclear";
  /** Whole rows for a delete or move; for an update the old values of what changed. */
  readonly was: Row;
  /** Whole rows for an insert or move; for an update the key and the new values. */
  readonly now: Row;
  /** Where it is told: for a move the stream that the row left, then the one that it joined. */
  readonly streams: readonly string[];
}

/** The shop's tables: what identifies a row, and which aggregate it belongs to. */
export const SHOP_TABLES: Readonly<
  Record<string, { key: readonly string[]; stream: string; of: string; role: string }>
> = {
  customers: { key: ["id"], stream: "customer", of: "id", role: "customer" },
  products: { key: ["sku"], stream: "product", of: "sku", role: "product" },
  stock_levels: { key: ["warehouse", "sku"], stream: "product", of: "sku", role: "stock" },
  orders: { key: ["id"], stream: "order", of: "id", role: "order" },
  order_lines: { key: ["order_id", "line_no"], stream: "order", of: "order_id", role: "lines" },
  payments: { key: ["id"], stream: "order", of: "order_id", role: "payments" },
  shipments: { key: ["id"], stream: "order", of: "order_id", role: "shipments" },
};

/** What the named events of the shop mean; the others say it themselves. */
const NAMED: Readonly<Record<string, readonly ["insert" | "update" | "delete", string]>> = {
  CustomerRegistered: ["insert", "customers"],
  CustomerMoved: ["update", "customers"],
  LoyaltyPointsChanged: ["update", "customers"],
  CustomerErased: ["delete", "customers"],
  ProductListed: ["insert", "products"],
  ProductPriceChanged: ["update", "products"],
  ProductDiscontinued: ["update", "products"],
  StockMoved: ["update", "stock_levels"],
  ProductRemoved: ["delete", "products"],
  OrderPlaced: ["insert", "orders"],
  OrderPaid: ["update", "orders"],
  OrderShipped: ["update", "orders"],
  OrderDelivered: ["update", "orders"],
  OrderCancelled: ["update", "orders"],
  OrderRefunded: ["update", "orders"],
  OrderTotalChanged: ["update", "orders"],
  OrderDeleted: ["delete", "orders"],
  LineAdded: ["insert", "order_lines"],
  LineChanged: ["update", "order_lines"],
  LineRemoved: ["delete", "order_lines"],
  PaymentCaptured: ["insert", "payments"],
  PaymentRefunded: ["update", "payments"],
  ParcelsShipped: ["insert", "shipments"],
  ParcelsDelivered: ["update", "shipments"],
};

/** The row changes that captured events tell, in the order of the log. Knows nothing of the product's own fold. */
export function readTold(events: readonly AuditedEvent[]): Told[] {
  // All events of one source change have its position.
  const changes = groupBy(events, ({ transaction, position }) => `${transaction} ${position}`);
  return [...changes.values()].flatMap((group) => readChange(group));
}

/** The rows that baseline events hold, by place. */
export function readBaseline(events: readonly AuditedEvent[]): Map<string, Row> {
  const rows = new Map<string, Row>();
  for (const { origin, stream, data } of events) {
    if (origin !== "baseline") continue;
    for (const [relation, { role, stream: type, of }] of Object.entries(SHOP_TABLES)) {
      if (type !== stream.slice(0, stream.indexOf("-"))) continue;
      const isRoot = role === type;
      const found = isRoot ? [columnsOf(data)] : ((data[role] ?? []) as Row[]);
      for (const row of found) {
        if (`${type}-${row[of]}` === stream) rows.set(placeOf(relation, row), row);
        else rows.set(`${placeOf(relation, row)} in ${stream}`, row);
      }
    }
  }
  return rows;
}

/** Says which row it is, over all tables. */
export function placeOf(relation: string, row: Row): string {
  return `${relation} ${SHOP_TABLES[relation]!.key.map((column) => row[column]).join(", ")}`;
}

export function streamOf(relation: string, row: Row): string {
  const { stream, of } = SHOP_TABLES[relation]!;
  return `${stream}-${row[of]}`;
}

export function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const key = keyOf(item);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  return groups;
}

function readChange(group: readonly AuditedEvent[]): Told[] {
  const parts = group.map((event) => readEvent(event));
  const [first, second] = parts as [Part, Part | undefined];
  const { transaction, relation } = first;
  if (parts.every(({ kind }) => kind === "update")) {
    const was = Object.assign({}, ...parts.map((part) => part.was)) as Row;
    const now = Object.assign({}, ...parts.map((part) => part.now)) as Row;
    // Each column that changed is told once.
    const columns = parts.flatMap((part) => Object.keys(part.was));
    const isOne =
      columns.length === new Set(columns).size &&
      parts.every(
        (part) =>
          part.stream === first.stream &&
          part.relation === relation &&
          placeOf(relation, part.now) === placeOf(relation, now),
      );
    const kind = isOne ? "update" : "unclear";
    return [{ transaction, relation, kind, was, now, streams: [first.stream] }];
  }
  if (second === undefined) {
    const { kind, was, now, stream, children } = first;
    return [{ transaction, relation, kind, was, now, streams: [stream] }, ...children];
  }
  const isMove =
    parts.length === 2 &&
    first.kind === "delete" &&
    second.kind === "insert" &&
    relation === second.relation &&
    Object.entries(first.now).every(([column, value]) => first.was[column] === value) &&
    group[0]!.causation !== null &&
    group[0]!.causation === group[1]!.causation;
  const streams = [first.stream, second.stream];
  const kind = isMove ? "move" : "unclear";
  return [{ transaction, relation, kind, was: first.was, now: second.now, streams }];
}

interface Part {
  readonly transaction: string;
  readonly relation: string;
  readonly kind: "insert" | "update" | "delete";
  readonly stream: string;
  readonly was: Row;
  readonly now: Row;
  /** Rows inserted with their root. */
  readonly children: readonly Told[];
}

function readEvent({ type, stream, transaction, data }: AuditedEvent): Part {
  const said = data["$row"] as string | undefined;
  const named = NAMED[type];
  const [kind, relation] =
    said === undefined
      ? (named ?? (["update", "unknown"] as const))
      : ([data["$op"] as Part["kind"], relationOf(said)] as const);
  const children = Object.entries(SHOP_TABLES).flatMap(([child, { role }]) =>
    Array.isArray(data[role])
      ? (data[role] as Row[]).map((now): Told => ({
          transaction: transaction!,
          relation: child,
          kind: "insert",
          was: {},
          now,
          streams: [stream],
        }))
      : [],
  );
  const was = (data["$was"] ?? {}) as Row;
  return { transaction: transaction!, relation, kind, stream, was, now: columnsOf(data), children };
}

function relationOf(role: string): string {
  return Object.keys(SHOP_TABLES).find((relation) => SHOP_TABLES[relation]!.role === role)!;
}

/** The members that are columns: neither the mapping's own words nor child rows. */
function columnsOf(data: Readonly<Record<string, unknown>>): Row {
  return Object.fromEntries(
    Object.entries(data).filter(([name, value]) => !name.startsWith("$") && !Array.isArray(value)),
  ) as Row;
}
