import type { DualEvent, Proposal, ShadowWrite } from "../../store/dual-store.ts";

/** All that is known of one write when it is judged. */
export interface DualCase {
  readonly write: ShadowWrite;
  readonly proposals: readonly Proposal[];
  readonly isParallel: boolean;
  readonly hasNeighbours: boolean;
  /** Whether legacy is known to say the ids of requests of this route: a change without one is not of them. */
  readonly isSaid: boolean;
  /** All events of each stream that the write, its proposals or its captured events are about. */
  readonly streams: ReadonlyMap<string, readonly DualEvent[]>;
}

/** Captured events that a write became, by stream. */
export type OwnEvents = ReadonlyMap<string, readonly DualEvent[]>;

/** The events that carry its correlation id, which the legacy application has put into its transaction. */
export function eventsByCorrelation({ write, streams }: DualCase): OwnEvents {
  return grouped(
    [...streams.values()].flatMap((events) =>
      events.filter((event) => isCaptured(event) && event.correlationId === write.correlationId),
    ),
  );
}

/**
 * Where the legacy application says nothing: the one transaction that changed the stream within the
 * window. Only of a write that is alone in it.
 *
 * @returns undefined when it cannot be told
 */
export function eventsByOrder(c: DualCase, windowMs: number): OwnEvents | undefined {
  const { write, proposals, streams, hasNeighbours } = c;
  if (write.stream === undefined || c.isSaid) return new Map();
  const decidedOn = proposals.find(({ stream }) => stream === write.stream)?.decidedOn ?? 0;
  const candidates = (streams.get(write.stream) ?? []).filter(
    (event) =>
      isCaptured(event) &&
      event.correlationId === undefined &&
      event.version > decidedOn &&
      event.recordedAtMs >= write.askedAtMs &&
      event.recordedAtMs <= write.answeredAtMs + windowMs,
  );
  const transactions = new Set(candidates.map(({ sourceTransaction }) => sourceTransaction));
  if (transactions.size === 0) return new Map();
  return transactions.size === 1 && !hasNeighbours ? grouped(candidates) : undefined;
}

/**
 * Whether a stream stood elsewhere when legacy answered than it did for the service: whether there is an
 * event behind that version which is not known to come from a later write. When it was recorded says
 * nothing of that, because the capture may have been behind.
 *
 * @param decidedOn undefined when the service did not say: then as the stream stood when it was asked
 */
export function hasMoved(c: DualCase, stream: string, decidedOn: number | undefined): boolean {
  const { askedAtMs, answeredAtMs } = c.write;
  const events = c.streams.get(stream) ?? [];
  if (decidedOn !== undefined && decidedOn > events.length) return true;
  return events.some((event) => {
    const isBehind =
      decidedOn === undefined ? event.recordedAtMs >= askedAtMs : event.version > decidedOn;
    const isLater = event.askedAtMs !== undefined && event.askedAtMs > answeredAtMs;
    return isBehind && !isLater;
  });
}

/** Whether a service that says no version can only have seen the stream as it was before these events. */
export function wasSeenBefore(c: DualCase, own: readonly DualEvent[]): boolean {
  const { askedAtMs, answeredAtMs } = c.write;
  const [first] = own;
  const before = c.streams.get(first!.stream)?.[first!.version - 2];
  return (
    first!.recordedAtMs > answeredAtMs && (before === undefined || before.recordedAtMs < askedAtMs)
  );
}

function isCaptured({ origin }: DualEvent): boolean {
  return origin === "capture";
}

function grouped(events: readonly DualEvent[]): OwnEvents {
  const own = new Map<string, DualEvent[]>();
  for (const event of events) {
    const stream = own.get(event.stream);
    if (stream === undefined) own.set(event.stream, [event]);
    else stream.push(event);
  }
  return own;
}
