import {
  child,
  deleted,
  inserted,
  stream,
  table,
  updated,
  changes,
} from "../../../src/mapping/rules.ts";
import type { StreamDefinition } from "../../../src/model/mapping-definition.ts";
import { Folder } from "../../../src/projection/fold.ts";
import type { DualEvent, Proposal, ShadowWrite } from "../../../src/store/dual-store.ts";
import type { JudgeContext } from "../../../src/verify/dual/judge-context.ts";
import { judgeWrite, type Judgement } from "../../../src/verify/dual/judge-write.ts";
import type { DualCase } from "../../../src/verify/dual/own-events.ts";
import { STRICT, type DualSettings, type Normaliser } from "../../../src/verify/dual/settings.ts";
import { compile, shape } from "../../support/mapping-fixtures.ts";

export interface OrderRow {
  id: string;
  status: string;
  total: string;
  note: string | null;
  updated_at: string;
}
const orders = table<OrderRow>("orders");
const lines = table<{ order_id: string; line_no: number; quantity: number; price: string }>(
  "lines",
);
const payments = table<{ id: string; order_id: string; amount: string; captured_at: string }>(
  "payments",
);

export const SHAPES = {
  order: shape("public.orders", "*id status total:numeric(12,2) note updated_at:timestamptz"),
  lines: shape("public.lines", "*order_id *line_no:int4 quantity:int4 price:numeric(10,2)"),
  payments: shape("public.payments", "*id order_id amount:numeric(12,2) captured_at:timestamptz"),
};

export const STREAMS = {
  order: stream(orders, {
    children: {
      lines: child(lines, { order_id: "id" }),
      payments: child(payments, { order_id: "id" }),
    },
    events: {
      OrderPlaced: inserted(orders, { with: [lines] }),
      TotalChanged: updated(orders, { total: changes() }, { data: ["updated_at"] }),
      OrderNoted: updated(orders, { note: changes() }, { data: ["updated_at"] }),
      LineAdded: inserted(lines),
      LineRemoved: deleted(lines),
      PaymentCaptured: inserted(payments),
    },
    otherwise: "OrderAmended",
  }),
};

export const MAPPING = compile(STREAMS, Object.values(SHAPES));
export const DEFINITION: StreamDefinition = MAPPING.definition().streams["order"]!;
export const FOLDER = new Folder(new Map([[1, MAPPING.definition()]]), MAPPING.inverses());

export const LENIENT: Normaliser = {
  ignore: ["updated_at"],
  generated: { payments: ["id"] },
  timestampsWithinMs: 5_000,
};

export const WRITE: ShadowWrite = {
  correlationId: "c1",
  streamType: "order",
  stream: "order-7",
  route: "POST /orders/:id/note",
  legacyStatus: 200,
  newStatus: 200,
  askedAtMs: 100_000,
  answeredAtMs: 100_020,
};

/** One event; by default captured, of the request `c1`, recorded after it was answered. */
export function told(
  version: number,
  type: string,
  data: Readonly<Record<string, unknown>>,
  more: Partial<DualEvent> = {},
): DualEvent {
  return {
    stream: "order-7",
    version,
    type,
    data,
    origin: "capture",
    mappingVersion: 1,
    sourceTransaction: `t${version}`,
    time: "1970-01-01T00:01:40.000000Z",
    correlationId: "c1",
    recordedAtMs: 100_050,
    askedAtMs: undefined,
    ...more,
  };
}

/** The order that there was long before. */
export const PLACED = told(
  1,
  "OrderPlaced",
  {
    id: "7",
    status: "placed",
    total: "10.00",
    note: null,
    updated_at: "2026-01-01T10:00:00Z",
    lines: [{ order_id: "7", line_no: 1, quantity: 1, price: "10.00" }],
  },
  { correlationId: undefined, recordedAtMs: 50_000 },
);

export function noted(note: string, updatedAt = "2026-01-02T10:00:00Z"): Record<string, unknown> {
  return { id: "7", note, updated_at: updatedAt };
}

export function contextOf(
  settings: Partial<DualSettings> = {},
  more: Partial<JudgeContext> = {},
): JudgeContext {
  return {
    settings: {
      normalise: { order: LENIENT },
      compareEvents: false,
      windowSeconds: 10,
      ...settings,
    },
    folder: FOLDER,
    definitionOf: (type) => (type === "order" ? { version: 1, stream: DEFINITION } : undefined),
    quarantined: new Set(),
    capturedToMs: 200_000,
    ...more,
  };
}

export function caseOf(
  write: Partial<ShadowWrite>,
  proposals: readonly Proposal[],
  events: readonly DualEvent[],
  more: Partial<DualCase> = {},
): DualCase {
  const streams = new Map<string, DualEvent[]>();
  for (const event of events) {
    const stream = streams.get(event.stream);
    if (stream === undefined) streams.set(event.stream, [event]);
    else stream.push(event);
  }
  for (const { stream } of proposals) if (!streams.has(stream)) streams.set(stream, []);
  return {
    write: { ...WRITE, ...write },
    proposals,
    isParallel: false,
    hasNeighbours: false,
    isSaid: false,
    streams,
    ...more,
  };
}

export function judge(c: DualCase, context = contextOf()): Judgement | undefined {
  return judgeWrite(c, context);
}

export { STRICT };
