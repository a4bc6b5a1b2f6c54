import { absorbChildren, type Absorption } from "./absorb-children.ts";
import type { Mapping } from "./compile.ts";
import type { EventBuffer } from "./event-buffer.ts";
import { idPrefix } from "./event-id.ts";
import { parkChange, type ParkedPayload } from "./parked-change.ts";
import { assertComplete } from "./row-images.ts";
import type { MappingScope, TableMapper, Telling } from "./table-mapper.ts";
import type { Change, Intent, RowChange, SourceTransaction } from "../model/change.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventContext } from "../model/event.ts";
import { changePosition, type Position } from "../model/position.ts";

/** Where mapped changes go. Counts hold: in = claimed + fallback + unchanged + parked. */
export interface MappedChanges {
  readonly events: EventBuffer;
  readonly parked: ParkedEntry[];
  readonly counts: Record<"changesIn" | Telling | "parked", number>;
}

/** Same shape as the store's `ParkedChange`. */
export interface ParkedEntry {
  readonly stream: string;
  readonly position: Position;
  readonly sourceTransaction: string;
  readonly table: string;
  readonly operation: string;
  readonly code: string;
  readonly reason: string;
  readonly change: ParkedPayload;
}

const NOTHING_ABSORBED = [] as const;

/**
 * Maps whole transactions (or all changes of some streams of one) to events, deterministically: the
 * events depend on the transaction alone, not on how transactions are batched.
 *
 * A change that cannot be mapped is parked and blocks its stream; what comes after it for that
 * stream is parked behind it. The others go on.
 */
export class ChangeMapper {
  readonly #mapping: Mapping;
  /** See {@link pipelineTag}. */
  readonly tag: number;
  /** Streams that take no events until their first parked change is retried or skipped. */
  readonly blocked = new Set<string>();

  /** @param tag the pipeline's part of event ids, see {@link pipelineTag} */
  constructor(mapping: Mapping, tag: number) {
    this.#mapping = mapping;
    this.tag = tag;
  }

  /**
   * @param changes in commit order, images completed
   * @throws BanyanError `TRUNCATE_REFUSED` · `INVARIANT_BROKEN`
   */
  map(
    transaction: SourceTransaction,
    changes: readonly Change[],
    intent: Intent | undefined,
    out: MappedChanges,
  ): void {
    const scope = this.scope(transaction, intent);
    const absorption = this.#mapping.takesChildren
      ? absorbChildren(changes, this.#mapping, this.blocked)
      : undefined;
    for (const change of changes) {
      if (change.kind === "truncate") throw truncateRefused(change.table.name);
      const mapper = this.#mapping.mapperOf(change.table);
      if (mapper === undefined) continue;
      if (change.half !== "joined") out.counts.changesIn += 1;
      if (absorption?.taken.has(change) === true) out.counts.claimed += 1;
      else this.#mapOne(change, mapper, scope, absorption, { transaction, intent }, out);
    }
  }

  /** What the changes of a transaction share; contexts are made once per mapping version. */
  scope(transaction: SourceTransaction, intent: Intent | undefined): MappingScope {
    let context: EventContext | undefined;
    return {
      commit: transaction.commit,
      idPrefix: idPrefix(transaction.commit),
      committedAtUs: transaction.committedAtUs,
      tag: this.tag,
      contextOf: (mappingVersion) => {
        if (context?.mappingVersion === mappingVersion) return context;
        context = captureContext(transaction, intent, mappingVersion);
        return context;
      },
    };
  }

  #mapOne(
    change: RowChange,
    mapper: TableMapper,
    scope: MappingScope,
    absorption: Absorption | undefined,
    said: Said,
    out: MappedChanges,
  ): void {
    const streams = this.blocked.size > 0 ? streamsOf(change, mapper) : undefined;
    if (streams?.some((stream) => this.blocked.has(stream)) === true) {
      // Its stream may have been blocked only after the rows were taken, by an earlier change.
      absorption?.giveBack(change);
      if (streams.length > 1) return this.#mapApart(change, mapper, scope, said, out);
      return this.#park(change, streams[0]!, BEHIND, said, out);
    }
    const mark = out.events.length;
    try {
      assertComplete(change);
      const children = absorption?.children.get(change) ?? NOTHING_ABSORBED;
      const telling = mapper.map(change, scope, out.events, children);
      if (change.half !== "joined") out.counts[telling] += 1;
    } catch (error) {
      if (error instanceof BanyanError && error.recovery === "bug") throw error;
      out.events.truncate(mark);
      absorption?.giveBack(change);
      const concerned = streamsOf(change, mapper);
      if (concerned.length > 1) return this.#mapApart(change, mapper, scope, said, out);
      this.#park(change, concerned[0]!, reasonOf(error), said, out);
    }
  }

  /**
   * Maps a row's move between two streams one side at a time, so that each waits or fails for itself.
   * The change is counted with the side it left.
   */
  #mapApart(
    change: RowChange,
    mapper: TableMapper,
    scope: MappingScope,
    said: Said,
    out: MappedChanges,
  ): void {
    this.#mapOne({ ...change, half: "left" }, mapper, scope, undefined, said, out);
    this.#mapOne({ ...change, half: "joined" }, mapper, scope, undefined, said, out);
  }

  #park(
    change: RowChange,
    stream: string,
    why: { readonly code: string; readonly reason: string },
    said: Said,
    out: MappedChanges,
  ): void {
    this.blocked.add(stream);
    if (change.half !== "joined") out.counts.parked += 1;
    out.parked.push({
      stream,
      position: changePosition(said.transaction.commit, change.ordinal),
      sourceTransaction: said.transaction.id,
      table: change.table.name,
      operation: change.kind,
      ...why,
      change: parkChange(change, said.transaction, said.intent),
    });
  }
}

interface Said {
  readonly transaction: SourceTransaction;
  readonly intent: Intent | undefined;
}

/** The stream a row is in before the change and the one after it; usually one. Never empty. */
export function streamsOf(change: RowChange, mapper: TableMapper): readonly string[] {
  const streams = new Set<string>();
  const sides = [
    change.half === "joined" ? undefined : change.before,
    change.half === "left" ? undefined : change.after,
  ];
  for (const cells of sides) {
    if (cells === undefined) continue;
    try {
      streams.add(mapper.streamOf(cells));
    } catch {
      // A key too long for a stream id: all such rows of the type share one queue.
      streams.add(`${mapper.streamType}-unmappable`);
    }
  }
  return [...streams];
}

const BEHIND = {
  code: "BEHIND_QUARANTINE",
  reason: "waits behind an earlier change of its stream",
} as const;

function reasonOf(error: unknown): { readonly code: string; readonly reason: string } {
  const code = error instanceof BanyanError ? error.code : "VALUE_UNMAPPABLE";
  return { code, reason: error instanceof Error ? error.message : String(error) };
}

function captureContext(
  transaction: SourceTransaction,
  intent: Intent | undefined,
  mappingVersion: number,
): EventContext {
  const metadata = intent?.metadata;
  return {
    origin: "capture",
    sourceTransaction: transaction.id,
    correlationId: intent?.correlationId,
    causationId: intent?.causationId,
    actor: intent?.actor,
    metadata:
      metadata === undefined || Object.keys(metadata).length === 0
        ? undefined
        : JSON.stringify(metadata),
    mappingVersion,
  };
}

export function truncateRefused(table: string): BanyanError {
  return new BanyanError(
    "TRUNCATE_REFUSED",
    `${table} was truncated, and its mapping refuses that`,
    {
      hint: 'Set truncate: "events" on the stream to record the rows as removed, then start banyan run again',
      detail: { table },
    },
  );
}
