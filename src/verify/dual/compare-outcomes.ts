import { isToldAlike } from "./compare-events.ts";
import { compareStates, type RowDifference } from "./compare-states.ts";
import type { JudgeContext } from "./judge-context.ts";
import type { DualCase } from "./own-events.ts";
import { STRICT } from "./settings.ts";
import { streamTypeOf } from "../../mapping/stream-id.ts";
import type { FoldedRow, StreamState } from "../../projection/fold.ts";
import type { DualEvent, Proposal } from "../../store/dual-store.ts";

/** What legacy changed in a stream, and what the service would have; one of them may be missing. */
export interface Pair {
  readonly own: readonly DualEvent[];
  readonly proposal: Proposal | undefined;
}

export interface Partings {
  /** Undefined when both sides come to the same. */
  readonly reason: "state-differs" | "events-differ" | "unfoldable" | undefined;
  readonly rows: readonly RowDifference[];
}

/** Differences of one failure that are kept. */
const PARTINGS_KEPT_MAX = 20;

/** Folds both sides of each pair onto what they were decided on, and compares what came of it. */
export function compareOutcomes(
  c: DualCase,
  pairs: readonly Pair[],
  context: JudgeContext,
): Partings {
  const rows: RowDifference[] = [];
  let isOtherwiseTold = false;
  for (const pair of pairs) {
    const found = comparePair(c, pair, context);
    if (found === undefined) return { reason: "unfoldable", rows: [] };
    rows.push(...found.rows);
    isOtherwiseTold ||= found.isOtherwiseTold;
  }
  const reason =
    rows.length > 0
      ? "state-differs"
      : isOtherwiseTold && context.settings.compareEvents
        ? "events-differ"
        : undefined;
  return { reason, rows: rows.slice(0, PARTINGS_KEPT_MAX) };
}

function comparePair(
  c: DualCase,
  { own, proposal }: Pair,
  { folder, definitionOf, settings }: JudgeContext,
): { readonly rows: readonly RowDifference[]; readonly isOtherwiseTold: boolean } | undefined {
  const stream = own[0]?.stream ?? proposal!.stream;
  const type = streamTypeOf(stream);
  const definition = definitionOf(type);
  if (definition === undefined) return undefined;
  const base = own.length > 0 ? own[0]!.version - 1 : proposal!.decidedOn;
  const before: StreamState = new Map();
  for (const event of c.streams.get(stream) ?? []) {
    if (event.version > base) break;
    folder.apply(before, event);
  }
  const legacy = copyOf(before);
  for (const event of own) folder.apply(legacy, event);
  const proposed = copyOf(before);
  const proposedEvents = proposal?.events ?? [];
  for (const [i, { type: eventType, data }] of proposedEvents.entries()) {
    if (!Object.hasOwn(definition.stream.events, eventType)) return undefined;
    const { version: mappingVersion } = definition;
    const version = base + i + 1;
    try {
      folder.apply(proposed, { stream, version, type: eventType, data, mappingVersion });
    } catch {
      // Whatever is wrong with what a service proposes is its failure, not that of whoever judges.
      return undefined;
    }
  }
  const hasOwnIds = proposal !== undefined && proposal.stream !== stream;
  const normaliser = settings.normalise[type] ?? STRICT;
  const sides = { before, legacy, proposed, hasOwnIds };
  return {
    rows: compareStates(definition.stream, sides, normaliser),
    isOtherwiseTold: !isToldAlike(definition.stream, own, proposedEvents, normaliser, hasOwnIds),
  };
}

function copyOf(state: StreamState): StreamState {
  const copied = (row: FoldedRow): FoldedRow => ({ ...row });
  return new Map(
    [...state].map(([role, rows]) => [
      role,
      new Map([...rows].map(([key, row]) => [key, copied(row)])),
    ]),
  );
}
