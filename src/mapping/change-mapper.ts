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

/** Where mapped changes go. Counts hold: in = claimed + fallback + unchanged + parked + echoed. */
export interface MappedChanges {
  readonly events: EventBuffer;
  readonly parked: ParkedEntry[];
  readonly counts: Record<"changesIn" | Telling | "parked" | "echoed", number>;
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

/** Why a change is parked. */
export interface Refusal {
  readonly code: string;
  readonly reason: string;
}

const NOTHING_ABSORBED = [] as const;

/**
 * Maps whole transactions (or all changes of some streams of one) to events, deterministically: the
 * events depend on the transaction alone, not on how transactions are batched.
 *
 * A change that cannot be mapped is parked and blocks its stream; what comes after it for that
 * stream is parked behind it. The others go on. An echo becomes no event: the store told it first.
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
   * @param refused streams of this transaction whose changes are parked as they are, and why
   * @throws BanyanError `TRUNCATE_REFUSED` · `INVARIANT_BROKEN`
   */
  map(
    transaction: SourceTransaction,
    changes: readonly Change[],
    intent: Intent | undefined,
    out: MappedChanges,
    refused?: ReadonlyMap<string, Refusal>,
  ): void {
    const scope = this.scope(transaction, intent);
    const said = { transaction, intent, refused };
    const own = transaction.echo === undefined ? changes : this.#withoutEchoes(changes, said, out);
    const absorption = this.#mapping.takesChildren
      ? absorbChildren(own, this.#mapping, this.blocked)
      : undefined;
    for (const change of own) {
      if (change.kind === "truncate") throw truncateRefused(change.table.name);
      const mapper = this.#mapping.mapperOf(change.table);
      if (mapper === undefined) continue;
      if (change.half !== "joined") out.counts.changesIn += 1;
      if (absorption?.taken.has(change) === true) {
        out.counts.claimed += 1;
        mapper.coverage.change("insert", true);
      } else this.#mapOne(change, mapper, scope, absorption, said, out);
    }
  }

  /**
   * What is left when echoes are counted and left out. Of a row that moved between a stream that the
   * transaction echoes and one that it does not, the side of the other is left.
   */
  #withoutEchoes(changes: readonly Change[], said: Said, out: MappedChanges): readonly Change[] {
    const echoed = new Set(said.transaction.echo!.map(({ stream }) => stream));
    for (const stream of said.refused?.keys() ?? []) echoed.delete(stream);
    const rest: Change[] = [];
    for (const change of changes) {
      const mapper = change.kind === "truncate" ? undefined : this.#mapping.mapperOf(change.table);
      if (change.kind === "truncate" || mapper === undefined) {
        rest.push(change);
        continue;
      }
      const streams = streamsOf(change, mapper);
      const others = streams.filter((stream) => !echoed.has(stream));
      if (others.length === streams.length) rest.push(change);
      else {
        const isLeftToo = others.length > 0 && others[0] === streams[0];
        if (change.half !== "joined" && !isLeftToo) {
          out.counts.changesIn += 1;
          out.counts.echoed += 1;
        }
        if (others.length > 0) rest.push({ ...change, half: isLeftToo ? "left" : "joined" });
      }
    }
    return rest;
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
    const mayWait = this.blocked.size > 0 || said.refused !== undefined;
    const streams = mayWait ? streamsOf(change, mapper) : undefined;
    if (streams?.some((stream) => this.#refusalOf(stream, said) !== undefined) === true) {
      // Its stream may have been blocked only after the rows were taken, by an earlier change.
      absorption?.giveBack(change);
      if (streams.length > 1) return this.#mapApart(change, mapper, scope, said, out);
      return this.#park(change, streams[0]!, this.#refusalOf(streams[0]!, said)!, said, out);
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

  #refusalOf(stream: string, { refused }: Said): Refusal | undefined {
    return this.blocked.has(stream) ? BEHIND : refused?.get(stream);
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

  #park(change: RowChange, stream: string, why: Refusal, said: Said, out: MappedChanges): void {
    this.blocked.add(stream);
    if (change.half !== "joined") out.counts.parked += 1;
    out.parked.push({
      stream,
      position: changePosition(said.transaction.commit, change.ordinal),
      sourceTransaction: said.transaction.id,
      table: change.table.name,
      operation: change.kind,
      ...why,
      change: parkChange(change, withEchoOf(said.transaction, stream), said.intent),
    });
  }
}

interface Said {
  readonly transaction: SourceTransaction;
  readonly intent: Intent | undefined;
  readonly refused: ReadonlyMap<string, Refusal> | undefined;
}

/** What a parked change of one stream must know; a transaction may echo thousands. */
function withEchoOf(transaction: SourceTransaction, stream: string): SourceTransaction {
  if (transaction.echo === undefined) return transaction;
  const { echo, ...rest } = transaction;
  const own = echo.filter((one) => one.stream === stream);
  return own.length === 0 ? rest : { ...rest, echo: own };
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

function reasonOf(error: unknown): Refusal {
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
