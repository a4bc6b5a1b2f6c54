import { dataOf, type NativeEvent } from "./reverse-support.ts";
import type { StreamDefinition } from "../../src/model/mapping-definition.ts";
import { randomUUID } from "node:crypto";

type Row = Record<string, string | null>;

/** An order as the service knows it, and what it does with it at random. All values are as the tables would have them. */
export class RandomOrder {
  readonly stream: string;
  readonly #id: string;
  readonly #definition: StreamDefinition;
  readonly #random: () => number;
  readonly #rows = new Map<string, Map<string, Row>>();
  isThere = false;

  constructor(id: string, definition: StreamDefinition, random: () => number) {
    this.#id = id;
    this.stream = `order-${id}`;
    this.#definition = definition;
    this.#random = random;
  }

  next(customer: string, sku: string): NativeEvent[] {
    if (!this.isThere) return [this.#place(customer, sku)];
    const turn = this.#random();
    if (turn < 0.04) return this.#remove();
    if (turn < 0.3) return [this.#change("order", this.#id, this.#orderChanges())];
    const role = this.#pick(["lines", "payments", "shipments"]);
    const rows = this.#rowsOf(role);
    if (rows.size === 0 || turn < 0.6) return [this.#insert(role, sku)];
    const key = this.#pick([...rows.keys()]);
    if (turn < 0.85) return [this.#change(role, key, this.#childChanges(role))];
    return [this.#delete(role, key)];
  }

  #place(customer: string, sku: string): NativeEvent {
    this.isThere = true;
    const row: Row = {
      id: this.#id,
      customer_id: customer,
      status: "placed",
      total: this.#money(),
      currency: "EUR",
      ship_to: this.#json(),
      note: this.#text(),
      cancel_reason: null,
      placed_at: this.#time(),
      paid_at: null,
      updated_at: this.#time(),
    };
    this.#rowsOf("order").set(this.#id, row);
    const line = this.#line(sku);
    this.#rowsOf("lines").set(line["line_no"]!, line);
    return {
      type: "OrderPlaced",
      data: { ...this.#data("order", row), lines: [this.#data("lines", line)] },
    };
  }

  #remove(): NativeEvent[] {
    const children = ["lines", "payments", "shipments"].flatMap((role) =>
      [...this.#rowsOf(role).keys()].map((key) => this.#delete(role, key)),
    );
    this.isThere = false;
    this.#rows.clear();
    return [
      ...children,
      { type: "OrderDeleted", data: { id: this.#data("order", { id: this.#id })["id"] } },
    ];
  }

  #insert(role: string, sku: string): NativeEvent {
    const row =
      role === "lines" ? this.#line(sku) : role === "payments" ? this.#payment() : this.#shipment();
    this.#rowsOf(role).set(this.#keyOf(role, row), row);
    return { type: "OrderAmended", data: { $row: role, $op: "insert", ...this.#data(role, row) } };
  }

  #change(role: string, key: string, changes: Row): NativeEvent {
    const row = { ...this.#rowsOf(role).get(key)!, ...changes };
    this.#rowsOf(role).set(key, row);
    const told = { ...this.#keyCells(role, row), ...changes };
    return { type: "OrderAmended", data: { $row: role, $op: "update", ...this.#data(role, told) } };
  }

  #delete(role: string, key: string): NativeEvent {
    const row = this.#rowsOf(role).get(key)!;
    this.#rowsOf(role).delete(key);
    return {
      type: "OrderAmended",
      data: { $row: role, $op: "delete", ...this.#data(role, this.#keyCells(role, row)) },
    };
  }

  #orderChanges(): Row {
    return this.#pick<Row>([
      { status: "paid", paid_at: this.#time(), updated_at: this.#time() },
      { total: this.#money(), note: this.#text() },
      { ship_to: this.#json() },
      { status: "cancelled", cancel_reason: this.#text() },
    ]);
  }

  #childChanges(role: string): Row {
    switch (role) {
      case "lines":
        return { quantity: String(1 + Math.floor(this.#random() * 9)), discount: "0.1250" };
      case "payments":
        return { refunded: this.#money(), response: this.#json() };
      default:
        return { label: this.#bytes(), delivered_at: this.#time(), transit: "1 day 02:00:00" };
    }
  }

  #line(sku: string): Row {
    return {
      order_id: this.#id,
      line_no: String(1 + Math.floor(this.#random() * 1e6)),
      sku,
      quantity: String(1 + Math.floor(this.#random() * 9)),
      unit_price: this.#money(),
      discount: this.#random() < 0.5 ? null : "0.0500",
    };
  }

  #payment(): Row {
    return {
      id: randomUUID(),
      order_id: this.#id,
      method: this.#pick(["card", "invoice", "voucher"]),
      amount: this.#money(),
      refunded: "0.00",
      response: this.#json(),
      captured_at: this.#time(),
    };
  }

  #shipment(): Row {
    return {
      id: String(1e9 + Math.floor(this.#random() * 1e12)),
      order_id: this.#id,
      carrier: "Bote, schnell",
      parcels_g: this.#pick(["{}", "{1,2}", "{NULL,5}"]),
      transit: null,
      label: this.#bytes(),
      shipped_at: this.#time(),
      delivered_at: null,
    };
  }

  #rowsOf(role: string): Map<string, Row> {
    let rows = this.#rows.get(role);
    if (rows === undefined) this.#rows.set(role, (rows = new Map<string, Row>()));
    return rows;
  }

  #keyOf(role: string, row: Row): string {
    return role === "lines" ? row["line_no"]! : row["id"]!;
  }

  #keyCells(role: string, row: Row): Row {
    const { key } = this.#definition.roles[role]!;
    return Object.fromEntries(key.map((name) => [name, row[name]!]));
  }

  #data(role: string, row: Row): Record<string, unknown> {
    return dataOf(this.#definition, role, row);
  }

  #pick<T>(from: readonly T[]): T {
    return from[Math.floor(this.#random() * from.length)]!;
  }

  #money(): string {
    return (this.#random() * 1000).toFixed(2);
  }

  #time(): string {
    const at = new Date(1.7e12 + Math.floor(this.#random() * 1e10) * 10 + 1).toISOString();
    return `${at.slice(0, 10)} ${at.slice(11, 23).replace(/0+$/, "")}+00`;
  }

  #text(): string | null {
    return this.#pick([
      null,
      "",
      " blank ",
      "Zürich 😀",
      "'; DROP TABLE orders; --",
      "\\N",
      '{"a"}',
    ]);
  }

  #json(): string | null {
    return this.#pick([null, "{}", '{"a": 1.50, "b": [null, "x"]}', '"\\\\u0000"', "null"]);
  }

  #bytes(): string | null {
    return this.#pick([null, "\\x", "\\x00ff5c27"]);
  }
}
