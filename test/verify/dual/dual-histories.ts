import fc from "fast-check";
import { caseOf, contextOf, judge, MAPPING, SHAPES, FOLDER } from "./dual-fixtures.ts";
import { change, mapAll } from "../../support/mapping-fixtures.ts";
import type { Change } from "../../../src/model/change.ts";
import type { StreamState } from "../../../src/projection/fold.ts";
import type { DualEvent, Proposal, ProposedEvent } from "../../../src/store/dual-store.ts";
import type { Judgement } from "../../../src/verify/dual/judge-write.ts";

/*
 * A legacy application that keeps rows, its capture through the real mapper, and a service that decides
 * on the folded stream. Both decide by the same rules, and one of the service's can be wrong.
 */

export type Bug =
  "rounding" | "forgotten status rule" | "lost line" | "wrong stream" | "extra event";

export type Command =
  | { readonly kind: "place"; readonly prices: readonly number[] }
  | { readonly kind: "amend"; readonly order: number; readonly price: number }
  | { readonly kind: "drop"; readonly order: number }
  | { readonly kind: "pay"; readonly order: number }
  | { readonly kind: "cancel"; readonly order: number }
  | { readonly kind: "note"; readonly order: number; readonly note: string };

export interface Step {
  readonly command: Command;
  /** The service reads the stream before its last event was there. */
  readonly isStale: boolean;
  readonly pauseMs: number;
}

const price = fc.integer({ min: 1, max: 9_999 });
const order = fc.nat(2);
const command: fc.Arbitrary<Command> = fc.oneof(
  fc.record({
    kind: fc.constant("place" as const),
    prices: fc.array(price, { minLength: 1, maxLength: 3 }),
  }),
  fc.record({ kind: fc.constant("amend" as const), order, price }),
  fc.record({ kind: fc.constant("drop" as const), order }),
  fc.record({ kind: fc.constant("pay" as const), order }),
  fc.record({ kind: fc.constant("cancel" as const), order }),
  fc.record({ kind: fc.constant("note" as const), order, note: fc.constantFrom("a", "b") }),
);

export const histories: fc.Arbitrary<readonly Step[]> = fc.array(
  fc.record({
    command,
    isStale: fc.boolean(),
    pauseMs: fc.constantFrom(30, 200, 30_000),
  }),
  { minLength: 3, maxLength: 12 },
);

interface Rows {
  readonly order: Row;
  readonly lines: readonly Row[];
  readonly payments: readonly Row[];
}
type Row = Readonly<Record<string, string | null>>;

/** Rows that a command leaves, or undefined when it is refused. */
type Decision = Rows | undefined;

interface Side {
  readonly now: string;
  readonly newId: () => string;
  readonly bug: Bug | undefined;
}

function decide(rows: Rows | undefined, command: Command, id: string, side: Side): Decision {
  const { now } = side;
  if (command.kind === "place") {
    const all = command.prices.map((cents, i) => lineOf(id, i + 1, cents));
    const lines = side.bug === "lost line" && all.length > 1 ? all.slice(1) : all;
    const placed = { id, status: "placed", total: "0.00", note: null, updated_at: now };
    return withTotal({ order: placed, lines, payments: [] }, side, all);
  }
  if (rows === undefined) return undefined;
  const { status } = rows.order;
  const touched = { ...rows.order, updated_at: now };
  switch (command.kind) {
    case "amend": {
      if (status !== "placed" && side.bug !== "forgotten status rule") return undefined;
      const next = 1 + Math.max(0, ...rows.lines.map(({ line_no: n }) => Number(n)));
      const lines = [...rows.lines, lineOf(id, next, command.price)];
      return withTotal({ ...rows, order: touched, lines }, side, lines);
    }
    case "drop": {
      if (status !== "placed" || rows.lines.length < 2) return undefined;
      const lines = rows.lines.slice(0, -1);
      return withTotal({ ...rows, order: touched, lines }, side, lines);
    }
    case "pay": {
      if (status !== "placed" && side.bug !== "forgotten status rule") return undefined;
      const paid = {
        id: side.newId(),
        order_id: id,
        amount: rows.order["total"]!,
        captured_at: now,
      };
      return { ...rows, order: { ...touched, status: "paid" }, payments: [...rows.payments, paid] };
    }
    case "cancel":
      if (status === "cancelled") return undefined;
      return { ...rows, order: { ...touched, status: "cancelled" } };
    case "note":
      if (rows.order["note"] === command.note) return rows;
      return { ...rows, order: { ...touched, note: command.note } };
  }
}

function lineOf(id: string, number: number, cents: number): Row {
  return { order_id: id, line_no: String(number), quantity: "1", price: money(cents) };
}

function money(cents: number): string {
  return (cents / 100).toFixed(2);
}

function withTotal(rows: Rows, { bug }: Side, lines: readonly Row[]): Rows {
  const cents = lines.reduce((sum, { price: text }) => sum + Math.round(Number(text) * 100), 0);
  const rounded = bug === "rounding" ? Math.round(cents / 10) * 10 : cents;
  return { ...rows, order: { ...rows.order, total: money(rounded) } };
}

export interface Outcome {
  readonly command: Command;
  readonly isStale: boolean;
  /** Whether the bug made the service decide otherwise. */
  readonly isBuggy: boolean;
  readonly judgement: Judgement | undefined;
}

/** @param hasCorrelation whether legacy says which request it was */
export function runHistory(
  steps: readonly Step[],
  { bug, hasCorrelation }: { readonly bug?: Bug; readonly hasCorrelation: boolean },
): readonly Outcome[] {
  const legacy = new Map<string, Rows>();
  const stored: DualEvent[] = [];
  const asked: { readonly stream: string | undefined; readonly atMs: number }[] = [];
  const cases: {
    readonly c: ReturnType<typeof caseOf>;
    readonly outcome: Omit<Outcome, "judgement">;
  }[] = [];
  let nowMs = 1_000_000;
  let ids = 0;
  steps.forEach(({ command, isStale, pauseMs }, n) => {
    nowMs += pauseMs;
    const isPlacing = command.kind === "place";
    const known = [...legacy.keys()];
    const id = isPlacing ? String(legacy.size + 1) : (known[command.order % known.length] ?? "404");
    const stream = `order-${id}`;
    const correlationId = `c${n}`;
    const at = (ms: number): string => new Date(ms).toISOString().slice(0, 19);
    const legacySide = {
      now: `${at(nowMs).replace("T", " ")}+00`,
      newId: () => `L${++ids}`,
      bug: undefined,
    };
    const before = legacy.get(id);
    const after = decide(before, command, id, legacySide);
    const events = stored.filter((event) => event.stream === stream);
    const seen = isStale && events.length > 1 ? events.slice(0, -1) : events;
    const provisional = isPlacing ? String(900_000 + n) : id;
    const newSide = {
      now: `${at(nowMs + 1_000).replace("T", " ")}+00`,
      newId: () => `N${++ids}`,
      bug,
    };
    const state = folded(seen);
    const proposed = decide(state, command, provisional, newSide);
    const right = decide(state, command, provisional, { ...newSide, bug: undefined });
    const proposal = proposalOf({
      id: provisional,
      decidedOn: seen.length,
      bug,
      before: state,
      after: proposed,
    });
    const write = {
      correlationId,
      stream: isPlacing ? undefined : stream,
      legacyStatus: after === undefined ? 409 : 200,
      newStatus: proposed === undefined ? 409 : 200,
      askedAtMs: nowMs,
      answeredAtMs: nowMs + 20,
    };
    const intent = hasCorrelation ? { correlationId, metadata: {} } : undefined;
    const told = captured(changesOf(before, after), intent, n);
    told.forEach((event, i) => {
      const version = events.length + i + 1;
      stored.push({
        ...event,
        version,
        recordedAtMs: nowMs + 25,
        askedAtMs: hasCorrelation ? nowMs : undefined,
      });
    });
    if (after !== undefined) legacy.set(id, after);
    const isWrong =
      JSON.stringify(withoutIds(proposed)) !== JSON.stringify(withoutIds(right)) ||
      (["wrong stream", "extra event"].includes(bug ?? "") &&
        proposal.events.length > 0 &&
        !(isPlacing && bug === "wrong stream"));
    asked.push({ stream: write.stream, atMs: nowMs });
    cases.push({
      c: caseOf(write, [proposal], []),
      outcome: { command, isStale, isBuggy: isWrong },
    });
  });
  return cases.map(({ c, outcome }) => {
    const { write, proposals } = c;
    const concerned = new Set([
      ...proposals.map(({ stream }) => stream),
      ...(write.stream === undefined ? [] : [write.stream]),
      ...stored.filter((e) => e.correlationId === write.correlationId).map(({ stream }) => stream),
    ]);
    const near = asked.filter(
      ({ stream, atMs }) =>
        stream !== undefined &&
        stream === write.stream &&
        atMs !== write.askedAtMs &&
        Math.abs(atMs - write.askedAtMs) <= 10_020,
    );
    const streams = new Map(
      [...concerned].map((name) => [name, stored.filter(({ stream }) => stream === name)]),
    );
    const context = contextOf({}, { capturedToMs: nowMs + 60_000 });
    return {
      ...outcome,
      judgement: judge({ ...c, streams, hasNeighbours: near.length > 0 }, context),
    };
  });
}

function folded(events: readonly DualEvent[]): Rows | undefined {
  const state: StreamState = new Map();
  for (const event of events) FOLDER.apply(state, event);
  const rowsOf = (role: string): readonly Row[] => [...(state.get(role)?.values() ?? [])];
  const [root] = rowsOf("order");
  if (root === undefined) return undefined;
  return { order: root, lines: rowsOf("lines"), payments: rowsOf("payments") };
}

function withoutIds(rows: Decision): unknown {
  return rows && { ...rows, payments: rows.payments.map(({ id: _, ...rest }) => rest) };
}

/** Row changes of one transaction, roots first. */
function changesOf(before: Rows | undefined, after: Decision): readonly Change[] {
  if (after === undefined) return [];
  const changes: Change[] = [];
  const put = (
    table: (typeof SHAPES)["order"],
    old: Row | undefined,
    row: Row | undefined,
  ): void => {
    if (JSON.stringify(old) === JSON.stringify(row)) return;
    const cells = (of: Row | undefined) => of && table.columns.map(({ name }) => of[name] ?? null);
    const kind = old === undefined ? "insert" : row === undefined ? "delete" : "update";
    changes.push(change(kind, table, changes.length + 1, cells(old), cells(row)));
  };
  put(SHAPES.order, before?.order, after.order);
  for (const role of ["lines", "payments"] as const) {
    const keyOf = (row: Row): string => row["line_no"] ?? row["id"]!;
    const old = new Map((before?.[role] ?? []).map((row) => [keyOf(row), row]));
    for (const row of after[role]) put(SHAPES[role], old.get(keyOf(row)), row);
    const left = new Set(after[role].map(keyOf));
    for (const [key, row] of old) if (!left.has(key)) put(SHAPES[role], row, undefined);
  }
  return changes;
}

function captured(
  changes: readonly Change[],
  intent: Parameters<typeof mapAll>[2],
  n: number,
): readonly Omit<DualEvent, "version" | "recordedAtMs" | "askedAtMs">[] {
  const { events } = mapAll(MAPPING, [changes], intent);
  return events.streams.map((stream, i) => ({
    stream,
    type: events.types[i]!,
    data: JSON.parse(events.data[i]!) as Record<string, unknown>,
    origin: "capture" as const,
    mappingVersion: 1,
    sourceTransaction: String(n),
    time: "2026-01-01T00:00:00.000000Z",
    correlationId: intent?.correlationId,
  }));
}

/** As a service would tell it: created whole, everything else by the fallback event. */
function proposalOf(of: {
  readonly id: string;
  readonly decidedOn: number;
  readonly bug: Bug | undefined;
  readonly before: Rows | undefined;
  readonly after: Decision;
}): Proposal {
  const { id, decidedOn, bug, before, after } = of;
  const events: ProposedEvent[] =
    after === undefined
      ? []
      : before === undefined
        ? [{ type: "OrderPlaced", data: { ...json(after.order), lines: after.lines.map(json) } }]
        : changesOf(before, after).flatMap((one) => amended(one));
  if (bug === "extra event" && events.length > 0)
    events.push({
      type: "LineAdded",
      data: { order_id: id, line_no: 77, quantity: 1, price: "1.00" },
    });
  const isElsewhere = bug === "wrong stream" && before !== undefined;
  return { stream: isElsewhere ? `order-${id}9` : `order-${id}`, decidedOn, events };
}

function json(row: Row): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(row).map(([name, value]): [string, unknown] => {
      if (name === "line_no" || name === "quantity") return [name, Number(value)];
      if (name.endsWith("_at")) return [name, value!.replace(" ", "T").replace("+00", "Z")];
      return [name, value];
    }),
  );
}

function amended(one: Change): readonly ProposedEvent[] {
  if (one.kind === "truncate") return [];
  const role = Object.entries(SHAPES).find(([, table]) => table === one.table)![0];
  const cells = one.after ?? one.before!;
  const row = Object.fromEntries(one.table.columns.map(({ name }, i) => [name, cells[i] ?? null]));
  return [{ type: "OrderAmended", data: { $row: role, $op: one.kind, ...json(row) } }];
}
