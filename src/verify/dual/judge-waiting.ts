import type { Definition, JudgeContext } from "./judge-context.ts";
import { because, judgeWrite, type Judgement } from "./judge-write.ts";
import type { DualSettings } from "./settings.ts";
import { compileMapping } from "../../mapping/compile.ts";
import type { StreamRef } from "../../mapping/rules.ts";
import { streamTypeOf } from "../../mapping/stream-id.ts";
import { BanyanError } from "../../model/errors.ts";
import type { MappingDefinition } from "../../model/mapping-definition.ts";
import { Folder } from "../../projection/fold.ts";
import {
  SKEW_MS,
  STREAMS_PER_WRITE_MAX,
  type DualEvent,
  type DualStore,
  type DualVerdict,
  type ShadowWrite,
  type WaitingWrite,
} from "../../store/dual-store.ts";
import type { EventStore } from "../../store/event-store.ts";

export interface JudgeOptions {
  readonly pipeline: string;
  readonly store: Pick<EventStore, "dual" | "mappings" | "pipeline">;
  readonly streams: Readonly<Record<string, StreamRef>>;
  readonly settings: DualSettings;
  /** Routes of whose requests legacy says the id. Added to; kept over the passes of one judge. */
  readonly routesSaid?: Set<string>;
}

/** What one pass over what waits came to. */
export type Judged = Readonly<Record<DualVerdict, number>> & {
  /** Too early to be judged. */
  readonly waiting: number;
};

/** Writes that are looked at in one go, in a handful of statements. */
export const WRITES_PER_BATCH = 500;
/** A stream with more events is not folded for a verdict. */
export const EVENTS_PER_STREAM_MAX = 20_000;
/** Events that are in memory at once. */
export const EVENTS_PER_READ = 50_000;

/**
 * Gives a verdict to all writes that have none and are due, a batch at a time. Can be repeated, and done
 * by several at once: a verdict is kept only where there is none.
 *
 * @param capturedToMs all that was committed in the legacy database by then is in the store
 * @throws BanyanError `CONFIG_INVALID` when a normaliser names what the mapping does not have
 */
export async function judgeWaiting(
  options: JudgeOptions,
  capturedToMs: number,
  signal: AbortSignal,
): Promise<Judged> {
  const { pipeline, store, settings } = options;
  const mappings = await store.mappings();
  const definitionOf = newestDefinitions(mappings);
  refuseUnknownNames(settings, definitionOf);
  const folder = new Folder(mappings, compileMapping(options.streams, []).inverses());
  const routesSaid = options.routesSaid ?? new Set<string>();
  const total = { pass: 0, fail: 0, inconclusive: 0, waiting: 0 };
  let after: ShadowWrite | undefined;
  while (!signal.aborted) {
    const page = await store.dual.waiting(pipeline, {
      answeredBefore: capturedToMs - SKEW_MS,
      after,
      windowMs: settings.windowSeconds * 1000,
      limit: WRITES_PER_BATCH,
    });
    const context = { settings, folder, definitionOf, capturedToMs, routesSaid };
    await judgePage(pipeline, store.dual, page, context, total);
    if (page.length < WRITES_PER_BATCH) break;
    after = page.at(-1)!.write;
  }
  return total;
}

async function judgePage(
  pipeline: string,
  dual: DualStore,
  page: readonly WaitingWrite[],
  context: Omit<JudgeContext, "quarantined"> & { readonly routesSaid: Set<string> },
  total: Record<keyof Judged, number>,
): Promise<void> {
  if (page.length === 0) return;
  const concerned = await concernedStreams(dual, page);
  const { routesSaid } = context;
  for (const { waiting, isFound } of concerned) if (isFound) routesSaid.add(waiting.write.route);
  const all = [...new Set(concerned.flatMap(({ streams }) => streams))];
  const heads = new Map<string, number>();
  (await dual.heads(all)).forEach((head, i) => heads.set(all[i]!, head));
  const quarantined = await dual.quarantined(pipeline, all);
  const verdicts: Verdict[] = [];
  for (const part of inParts(concerned, heads)) {
    const wanted = part.flatMap((entry) => (isTooLarge(entry, heads) ? [] : entry.streams));
    const streams = byStream(await dual.events(pipeline, [...new Set(wanted)]));
    for (const entry of part) {
      const own = new Map(entry.streams.map((stream) => [stream, streams.get(stream) ?? []]));
      const judgement = isTooLarge(entry, heads)
        ? because("too-large")
        : judgeWrite(
            { ...entry.waiting, streams: own, isSaid: routesSaid.has(entry.waiting.write.route) },
            { ...context, quarantined },
          );
      const { correlationId } = entry.waiting.write;
      if (judgement === undefined) total.waiting += 1;
      else verdicts.push({ correlationId, judgement });
    }
  }
  await excuseMovedInputs(pipeline, dual, page, verdicts);
  await dual.save(
    pipeline,
    verdicts.map(({ correlationId, judgement }) => ({ correlationId, ...judgement })),
  );
  for (const { judgement } of verdicts) total[judgement.verdict] += 1;
}

interface Verdict {
  readonly correlationId: string;
  judgement: Judgement;
}

/** Whatever was looked at, a service that breaks down or proposes what cannot be fails. */
const WHATEVER_INPUTS: readonly string[] = ["shadow-failed", "unfoldable"];

/** Sides that saw another price need not agree. It is asked only where they do not. */
async function excuseMovedInputs(
  pipeline: string,
  dual: DualStore,
  page: readonly WaitingWrite[],
  verdicts: readonly Verdict[],
): Promise<void> {
  const doubted = new Map(
    verdicts
      .filter(({ judgement: { verdict, reason } }) => {
        return verdict === "fail" && !WHATEVER_INPUTS.includes(reason);
      })
      .map((verdict) => [verdict.correlationId, verdict]),
  );
  const inputs = page.flatMap(({ write: { correlationId, askedAtMs, answeredAtMs }, proposals }) =>
    doubted.has(correlationId)
      ? proposals.flatMap(({ inputs: seen = {} }) =>
          Object.entries(seen).map(([stream, version]) => {
            return { correlationId, stream, version, askedAtMs, answeredAtMs };
          }),
        )
      : [],
  );
  if (inputs.length === 0) return;
  for (const correlationId of await dual.inputsMoved(pipeline, inputs))
    doubted.get(correlationId)!.judgement = because("inputs-moved");
}

interface Concerned {
  readonly waiting: WaitingWrite;
  readonly streams: readonly string[];
  /** Whether an event carries its id. */
  readonly isFound: boolean;
  /** True when so many streams were changed that not all of them are known. */
  readonly hasMore: boolean;
}

/** Streams of other types are left out, unless the service has a part in them. */
async function concernedStreams(
  dual: DualStore,
  page: readonly WaitingWrite[],
): Promise<readonly Concerned[]> {
  const found = new Map<string, string[]>();
  for (const { correlationId, stream } of await dual.streamsOf(
    page.map(({ write }) => write.correlationId),
  )) {
    const streams = found.get(correlationId);
    if (streams === undefined) found.set(correlationId, [stream]);
    else streams.push(stream);
  }
  return page.map((waiting) => {
    const { write, proposals } = waiting;
    const changed = found.get(write.correlationId) ?? [];
    const streams = new Set(proposals.map(({ stream }) => stream));
    if (write.stream !== undefined) streams.add(write.stream);
    for (const stream of changed)
      if (streamTypeOf(stream) === write.streamType) streams.add(stream);
    const isFound = changed.length > 0;
    const hasMore = changed.length >= STREAMS_PER_WRITE_MAX;
    return { waiting, streams: [...streams], isFound, hasMore };
  });
}

function isTooLarge({ streams, hasMore }: Concerned, heads: ReadonlyMap<string, number>): boolean {
  return hasMore || sum(streams.map((stream) => heads.get(stream) ?? 0)) > EVENTS_PER_STREAM_MAX;
}

/** Parts whose streams together do not have more events than may be in memory. */
function inParts(
  concerned: readonly Concerned[],
  heads: ReadonlyMap<string, number>,
): readonly (readonly Concerned[])[] {
  const parts: Concerned[][] = [[]];
  let seen = new Set<string>();
  let events = 0;
  for (const entry of concerned) {
    const isRead = isTooLarge(entry, heads) ? [] : entry.streams;
    const more = sum(isRead.map((stream) => (seen.has(stream) ? 0 : (heads.get(stream) ?? 0))));
    if (events + more > EVENTS_PER_READ) {
      parts.push([]);
      seen = new Set();
      events = 0;
    }
    parts.at(-1)!.push(entry);
    for (const stream of isRead) {
      if (!seen.has(stream)) events += heads.get(stream) ?? 0;
      seen.add(stream);
    }
  }
  return parts;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

function byStream(events: readonly DualEvent[]): ReadonlyMap<string, readonly DualEvent[]> {
  const streams = new Map<string, DualEvent[]>();
  for (const event of events) {
    const stream = streams.get(event.stream);
    if (stream === undefined) streams.set(event.stream, [event]);
    else stream.push(event);
  }
  return streams;
}

function newestDefinitions(
  mappings: ReadonlyMap<number, MappingDefinition>,
): (streamType: string) => Definition | undefined {
  const newest = new Map<string, Definition>();
  for (const version of [...mappings.keys()].sort((a, b) => a - b))
    for (const [type, stream] of Object.entries(mappings.get(version)!.streams))
      newest.set(type, { version, stream });
  return (streamType) => newest.get(streamType);
}

/** Columns are known only from the store; types and roles are checked with the config. */
function refuseUnknownNames(
  { normalise }: DualSettings,
  definitionOf: (streamType: string) => Definition | undefined,
): void {
  const unknown = Object.entries(normalise).flatMap(([type, { ignore, generated }]) => {
    const roles = definitionOf(type)?.stream.roles;
    if (roles === undefined) return [];
    const has = (role: string, column: string): boolean =>
      roles[role]?.columns.some(({ name }) => name === column) === true;
    const isKnown = (name: string): boolean =>
      Object.keys(roles).some(
        (role) =>
          has(role, name) ||
          (name.startsWith(`${role}.`) && has(role, name.slice(role.length + 1))),
      );
    const keys = Object.entries(generated).flatMap(([role, names]) =>
      names
        .filter((name) => roles[role]?.key.includes(name) !== true)
        .map((name) => `dual.normalise.${type}.generated: ${role} has no key column ${name}`),
    );
    const ignored = ignore.filter((name) => !isKnown(name));
    return [
      ...ignored.map((name) => `dual.normalise.${type}.ignore: there is no column ${name}`),
      ...keys,
    ];
  });
  if (unknown.length > 0)
    throw new BanyanError("CONFIG_INVALID", unknown.join("\n"), {
      hint: "Name columns as the mapping has them: updated_at, or payments.captured_at for one table",
    });
}
