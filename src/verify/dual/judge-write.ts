import { compareOutcomes, type Pair, type Partings } from "./compare-outcomes.ts";
import {
  eventsByCorrelation,
  eventsByOrder,
  hasMoved,
  wasSeenBefore,
  type DualCase,
  type OwnEvents,
} from "./own-events.ts";
import type { JudgeContext } from "./judge-context.ts";
import { REASONS, type Reason } from "./reasons.ts";
import { streamTypeOf } from "../../mapping/stream-id.ts";
import {
  SKEW_MS,
  type DualVerdict,
  type Proposal,
  type ProposedEvent,
  type ShadowWrite,
} from "../../store/dual-store.ts";

export interface Judgement {
  readonly verdict: DualVerdict;
  readonly reason: Reason;
  readonly detail?: FailureDetail;
}

/** Both sides of a failure, and where they part. */
export interface FailureDetail {
  readonly streams: readonly {
    /** What legacy changed; absent when it changed nothing there. */
    readonly stream?: string;
    /** Where the service would have written; absent when it would not. */
    readonly proposed?: string;
    readonly decidedOn: number;
    readonly legacyEvents: readonly ProposedEvent[];
    readonly proposedEvents: readonly ProposedEvent[];
  }[];
  readonly partings: Partings["rows"];
}

/**
 * The verdict on one write, undefined as long as it is too early to say.
 *
 * Never a pass where it is not known that both sides decided on the same version of the aggregate.
 */
export function judgeWrite(c: DualCase, context: JudgeContext): Judgement | undefined {
  const { write } = c;
  const early = judgeAnswers(write);
  if (early !== undefined) return early;
  if (c.isParallel) return because("parallel");
  const proposals = joinProposals(c.proposals);
  if (proposals === undefined) return because("proposals-unclear");
  const windowMs = context.settings.windowSeconds * 1000;
  const isWindowOver = context.capturedToMs >= write.answeredAtMs + windowMs + SKEW_MS;
  if (context.capturedToMs < write.answeredAtMs + SKEW_MS) return undefined;
  if ([...c.streams.keys()].some((stream) => context.quarantined.has(stream)))
    return because("quarantined");
  const correlated = eventsByCorrelation(c);
  if (correlated.size === 0 && !isWindowOver) return undefined;
  const own = correlated.size > 0 ? correlated : eventsByOrder(c, windowMs);
  if (own === undefined) return because("several-candidates");
  const look = { c, context, proposals, own };
  return isOwnTypeAmong(own, proposals, write) ? judgeChanged(look) : judgeUnchanged(look);
}

interface Look {
  readonly c: DualCase;
  readonly context: JudgeContext;
  /** One per stream. */
  readonly proposals: ReadonlyMap<string, Proposal>;
  readonly own: OwnEvents;
}

/** What the statuses alone decide. */
function judgeAnswers({ legacyStatus, newStatus }: ShadowWrite): Judgement | undefined {
  if (legacyStatus === undefined) return because("legacy-unanswered");
  if (legacyStatus >= 500) return because("legacy-failed");
  if (newStatus === undefined) return because("shadow-unanswered");
  if (newStatus >= 500) return because("shadow-failed");
  return undefined;
}

/** Several appends of one request to one stream, if they follow one another. */
function joinProposals(all: readonly Proposal[]): ReadonlyMap<string, Proposal> | undefined {
  const joined = new Map<string, Proposal>();
  for (const proposal of all) {
    const first = joined.get(proposal.stream);
    if (first === undefined) {
      joined.set(proposal.stream, proposal);
      continue;
    }
    // A service that loads anew finds its stream as it was; one that goes on counts its own events.
    const follows = [first.decidedOn, first.decidedOn + first.events.length];
    if (!follows.includes(proposal.decidedOn)) return undefined;
    joined.set(proposal.stream, { ...first, events: [...first.events, ...proposal.events] });
  }
  return joined;
}

/** Changes of other types that came along are legacy's own as long as the service has no part in them. */
function isOwnTypeAmong(
  own: OwnEvents,
  proposals: ReadonlyMap<string, Proposal>,
  { streamType }: ShadowWrite,
): boolean {
  return [...own.keys()].some(
    (stream) => streamTypeOf(stream) === streamType || proposals.has(stream),
  );
}

function judgeUnchanged(look: Look): Judgement {
  const { c, proposals, context } = look;
  const { write } = c;
  const streams = new Set([
    ...(write.stream === undefined ? [] : [write.stream]),
    ...proposals.keys(),
  ]);
  for (const stream of streams)
    if (hasMoved(c, stream, proposals.get(stream)?.decidedOn)) return because("version-moved");
  const hasLegacyAccepted = isAccepted(write.legacyStatus);
  const hasNewAccepted = isAccepted(write.newStatus);
  const pairs = [...proposals.values()].map((proposal): Pair => ({ proposal, own: [] }));
  if (hasLegacyAccepted !== hasNewAccepted)
    return failed(hasNewAccepted ? "refused-by-legacy" : "refused-by-new", pairs);
  if (hasNewAccepted && proposals.size === 0) return because("no-proposal");
  const partings = compareOutcomes(c, pairs, context);
  if (partings.reason === undefined)
    return because(hasNewAccepted ? "nothing-changed" : "both-refused");
  if (!hasLegacyAccepted || partings.reason === "unfoldable")
    return failed(partings.reason, pairs, partings);
  return because(write.stream === undefined ? "not-correlated" : "never-arrived");
}

function judgeChanged(look: Look): Judgement {
  const { c, context, proposals } = look;
  const { write } = c;
  const paired = pairUp(look);
  if (paired === undefined) return because("several-candidates");
  const { pairs, leftOver } = paired;
  for (const { own, proposal } of pairs) {
    if (own.length === 0) continue;
    const base = own[0]!.version - 1;
    if (own.at(-1)!.version - base !== own.length) return because("parallel");
    if (proposal !== undefined && proposal.decidedOn !== base) return because("version-moved");
  }
  const hasNewAccepted = isAccepted(write.newStatus);
  const isSeen = ({ own, proposal }: Pair): boolean =>
    proposal !== undefined || own.length === 0 || wasSeenBefore(c, own);
  if (isAccepted(write.legacyStatus) !== hasNewAccepted) {
    if (!pairs.every(isSeen)) return because("version-moved");
    return failed(hasNewAccepted ? "refused-by-legacy" : "refused-by-new", pairs);
  }
  if (hasNewAccepted && proposals.size === 0) return because("no-proposal");
  const isElsewhere =
    leftOver.some(({ events }) => events.length > 0) &&
    pairs.some(({ own, proposal }) => own.length > 0 && proposal === undefined);
  const all = [...pairs, ...leftOver.map((proposal): Pair => ({ proposal, own: [] }))];
  if (isElsewhere) return failed("wrong-stream", all);
  for (const proposal of leftOver)
    if (hasMoved(c, proposal.stream, proposal.decidedOn)) return because("version-moved");
  const partings = compareOutcomes(c, all, context);
  if (partings.reason === undefined)
    return all.every(isSeen) ? because("same-state") : because("version-moved");
  return failed(partings.reason, all, partings);
}

/**
 * Puts what legacy changed and what the service proposed side by side, stream by stream. Creations
 * stand side by side although each side has an id of its own.
 */
function pairUp({
  c,
  own,
  proposals,
}: Look): { readonly pairs: readonly Pair[]; readonly leftOver: readonly Proposal[] } | undefined {
  const { write } = c;
  const pairs: Pair[] = [];
  const left = new Map(proposals);
  const alone: Pair[] = [];
  for (const [stream, events] of own) {
    const proposal = left.get(stream);
    left.delete(stream);
    if (proposal !== undefined) pairs.push({ own: events, proposal });
    else if (streamTypeOf(stream) === write.streamType) alone.push({ own: events, proposal });
  }
  const created = alone.filter((pair) => pair.own[0]!.version === 1);
  const creating = [...left.values()].filter(
    ({ stream, decidedOn }) => decidedOn === 0 && streamTypeOf(stream) === write.streamType,
  );
  if (write.stream === undefined && created.length > 0 && creating.length > 0) {
    if (created.length > 1 || creating.length > 1) return undefined;
    left.delete(creating[0]!.stream);
    pairs.push({ own: created[0]!.own, proposal: creating[0]! });
    alone.splice(alone.indexOf(created[0]!), 1);
  }
  return { pairs: [...pairs, ...alone], leftOver: [...left.values()] };
}

function isAccepted(status: number | undefined): boolean {
  return status !== undefined && status < 400;
}

export function because(reason: Reason): Judgement {
  const verdict = Object.hasOwn(REASONS.pass, reason)
    ? "pass"
    : Object.hasOwn(REASONS.fail, reason)
      ? "fail"
      : "inconclusive";
  return { verdict, reason };
}

/** Events of one failure that are kept, per stream and side. */
export const EVENTS_KEPT_MAX = 20;

function failed(reason: Reason, pairs: readonly Pair[], partings?: Partings): Judgement {
  const streams = pairs.map(({ own, proposal }) => ({
    ...(own.length === 0 ? {} : { stream: own[0]!.stream }),
    ...(proposal === undefined ? {} : { proposed: proposal.stream }),
    decidedOn: proposal?.decidedOn ?? own[0]!.version - 1,
    legacyEvents: own.slice(0, EVENTS_KEPT_MAX).map(({ type, data }) => ({ type, data })),
    proposedEvents: proposal?.events.slice(0, EVENTS_KEPT_MAX) ?? [],
  }));
  return { ...because(reason), detail: { streams, partings: partings?.rows ?? [] } };
}
