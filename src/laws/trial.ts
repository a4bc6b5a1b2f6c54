import { blameRule, type Blame } from "./blame.ts";
import type { Law } from "./finding.ts";
import type { PlayedTransaction } from "./history.ts";
import type { LawStream } from "./law-tables.ts";
import {
  emptyOutput,
  madeEvents,
  mapAlone,
  mapTogether,
  newMapper,
  transactionOf,
  type MadeEvent,
} from "./map-history.ts";
import { differenceOf, type RowDifference } from "./row-difference.ts";
import { withClockAt } from "./fixed-clock.ts";
import { streamsOf } from "../mapping/change-mapper.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { RowChange } from "../model/change.ts";
import { STREAM_ID_LENGTH_MAX } from "../mapping/stream-id.ts";
import { changePosition } from "../model/position.ts";
import { Folder, type StreamState } from "../projection/fold.ts";

/** A law that does not hold for a history, at the first place where that shows. */
export interface Violation {
  readonly law: Law;
  readonly code: string;
  readonly rule?: string;
  readonly table: string;
  readonly column?: string;
  readonly reason: string;
  readonly next: string;
  /** Number of the transaction after which it shows. */
  readonly at: number;
  /** The change that shows it; absent when it shows in the end only. */
  readonly change?: RowChange;
  readonly blame?: Blame;
  readonly difference?: RowDifference;
  /** Two tellings of one thing that are not alike. */
  readonly told?: { readonly once: MadeEvent | undefined; readonly again: MadeEvent | undefined };
}

export interface Trial {
  /** The events of each transaction, as far as it came. */
  readonly events: readonly (readonly MadeEvent[])[];
  readonly violation: Violation | undefined;
}

/** Tries the laws of a mapping on histories of one of its streams. */
export class LawTrial {
  readonly #mapping: Mapping;
  readonly #stream: LawStream;
  readonly #folder: Folder;

  /** @param mapping compiled without problems */
  constructor(mapping: Mapping, stream: LawStream) {
    mapping.setVersion(1);
    this.#mapping = mapping;
    this.#stream = stream;
    this.#folder = new Folder(new Map([[1, mapping.definition()]]), mapping.inverses());
  }

  /** @returns the first law that does not hold, with what was told until then */
  run(played: readonly PlayedTransaction[]): Trial {
    const events: MadeEvent[][] = [];
    const violation = withClockAt(
      ONCE_MS,
      () => this.#roundTrip(played, events) ?? this.#alike(played, events.flat()),
    );
    return { events, violation };
  }

  #roundTrip(played: readonly PlayedTransaction[], told: MadeEvent[][]): Violation | undefined {
    const mapper = newMapper(this.#mapping);
    const states = new Map<string, StreamState>();
    for (const [at, transaction] of played.entries()) {
      const out = emptyOutput();
      mapper.map(transactionOf(at), transaction.changes, undefined, out);
      const events = madeEvents(out.events, 0);
      told.push(events);
      const [parked] = out.parked;
      if (parked !== undefined) {
        const position = parked.position;
        const change = transaction.changes.find(
          ({ ordinal }) => changePosition(transactionOf(at).commit, ordinal) === position,
        )!;
        return this.#parked(at, change, parked.reason);
      }
      const violation =
        this.#untold(at, transaction, events) ?? this.#fold(at, transaction, events, states);
      if (violation !== undefined) return violation;
    }
    return undefined;
  }

  #parked(at: number, change: RowChange, reason: string): Violation {
    const where = { at, change, table: change.table.name };
    const mapper = this.#mapping.mapperOf(change.table)!;
    const sides = [change.before, change.after].filter((cells) => cells !== undefined);
    if (sides.some((cells) => mapper.streamIdOf(cells).length > STREAM_ID_LENGTH_MAX)) {
      const next = `Name shorter columns as its key: table("${change.table.name}", { key: [...] }), or leave the table out`;
      return { ...where, law: "totality", code: "key-too-long", reason, next };
    }
    const blame = blameRule(change, mapper);
    if (blame === undefined) {
      return { ...where, law: "totality", code: "change-untold", reason, next: REPORT };
    }
    const law = blame.code.startsWith("inverse") ? "round-trip" : "totality";
    const { code, rule, column, next } = blame;
    const place = column === undefined ? { rule } : { rule, column };
    return { ...where, ...place, law, code, reason: blame.reason, next, blame };
  }

  /** Every change that changed something has an event of its own, or is part of its root's. */
  #untold(
    at: number,
    { changes }: PlayedTransaction,
    events: readonly MadeEvent[],
  ): Violation | undefined {
    const told = new Set<string>(events.map(({ position }) => position));
    const change = changes.find(({ kind, table, ordinal, before, after }) => {
      if (before?.every((cell, column) => cell === after?.[column]) === true) return false;
      if (kind === "insert" && this.#isTaken(table.name)) return false;
      return !told.has(changePosition(transactionOf(at).commit, ordinal));
    });
    if (change === undefined) return undefined;
    const { kind, table } = change;
    const reason = `a change (${kind}) of ${table.name} becomes no event at all`;
    const of = { law: "totality", code: "change-untold", table: table.name } as const;
    return { ...of, reason, next: REPORT, at, change };
  }

  /** Whether inserts of a table may be part of their root's event. */
  #isTaken(table: string): boolean {
    return this.#stream.plan.rules.some(
      ({ rule }) => rule.on === "insert" && rule.with.some(({ name }) => name === table),
    );
  }

  #fold(
    at: number,
    { changes, rows }: PlayedTransaction,
    events: readonly MadeEvent[],
    states: Map<string, StreamState>,
  ): Violation | undefined {
    const touched = new Set(
      changes.flatMap((change) => streamsOf(change, this.#mapping.mapperOf(change.table)!)),
    );
    for (const { stream, type, data } of events) {
      touched.add(stream);
      const state = states.get(stream) ?? new Map<string, never>();
      states.set(stream, state);
      const event = { stream, version: 1, type, mappingVersion: 1 };
      try {
        this.#folder.apply(state, { ...event, data: JSON.parse(data) as Record<string, unknown> });
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        const table = changes[0]!.table.name;
        const reason = `the fold of ${type} fails: ${message}`;
        return {
          law: "round-trip",
          code: "fold-fails",
          rule: type,
          table,
          reason,
          next: REPORT,
          at,
        };
      }
    }
    for (const stream of touched) {
      const difference = differenceOf(this.#stream, stream, rows, states.get(stream));
      if (difference === undefined) continue;
      const { table, columns, kind } = difference;
      const column = columns[0]?.column;
      return {
        law: "round-trip",
        code: "fold-differs",
        table,
        ...(column === undefined ? {} : { column }),
        reason: REASONS[kind](
          table,
          columns.map((each) => each.column),
        ),
        next: REPORT,
        at,
        difference,
      };
    }
    return undefined;
  }

  /** The same again gives the same: in one batch, at another time, and each stream for itself. */
  #alike(played: readonly PlayedTransaction[], once: readonly MadeEvent[]): Violation | undefined {
    const again = withClockAt(AGAIN_MS, () => mapTogether(this.#mapping, played));
    const unlike = firstUnlike(once, again);
    if (unlike !== undefined) {
      const reason = "the same changes, mapped again later and in one batch, give other events";
      return this.#unlike("determinism", "not-deterministic", reason, unlike, played);
    }
    for (const stream of new Set(once.map((event) => event.stream))) {
      const together = once.filter((event) => event.stream === stream);
      const alone = mapAlone(this.#mapping, played, stream);
      const found = firstUnlike(together, alone);
      if (found === undefined) continue;
      const reason = `the events of ${stream} are others when only its own changes are mapped`;
      return this.#unlike("independence", "not-independent", reason, found, played);
    }
    return undefined;
  }

  #unlike(
    law: Law,
    code: string,
    reason: string,
    told: NonNullable<Violation["told"]>,
    played: readonly PlayedTransaction[],
  ): Violation {
    const { type, position } = (told.once ?? told.again)!;
    const [at, change] = changeAt(played, position);
    const rules = this.#stream.plan.rules.filter(
      ({ rule }) => rule.table.name === change.table.name,
    );
    const own = rules.find((rule) => rule.type === type)?.rule;
    // What a function decides shows in the event of its rule, or in that there is another one.
    const suspects =
      own !== undefined && hasFunction(own)
        ? [type]
        : rules.filter(({ rule }) => hasFunction(rule)).map((rule) => rule.type);
    const [rule] = suspects;
    return {
      law,
      code,
      ...(rule === undefined ? {} : { rule }),
      table: change.table.name,
      reason,
      next:
        rule === undefined
          ? REPORT
          : `Let the functions of ${suspects.length === 1 ? `rule ${rule}` : `the rules ${suspects.join(", ")}`} depend on the row alone: no clock, no chance, nothing remembered from call to call`,
      at,
      change,
      told,
    };
  }
}

/**
 * Two moments of another year, month, day and hour. Times that histories often have lie just before the
 * one, and between the two.
 */
const ONCE_MS = Date.UTC(2026, 1, 1, 9, 30);
const AGAIN_MS = Date.UTC(2036, 7, 17, 19, 45);

const REPORT = "This is a mistake of Banyan, not of the config: please report it with this story";

const REASONS = {
  missing: (table: string) => `a row of ${table} is not in the fold of its events`,
  extra: (table: string) => `the fold of the events has a row of ${table} that is not there`,
  different: (table: string, columns: readonly string[]) =>
    `the fold of the events gives other values than the row of ${table} has: ${columns.join(", ")}`,
} as const;

function hasFunction(rule: LawStream["plan"]["rules"][number]["rule"]): boolean {
  return rule.where !== undefined || (rule.on === "update" && rule.transform !== undefined);
}

function changeAt(
  played: readonly PlayedTransaction[],
  position: string,
): readonly [number, RowChange] {
  for (const [at, { changes }] of played.entries()) {
    for (const change of changes) {
      if (changePosition(transactionOf(at).commit, change.ordinal) === position)
        return [at, change];
    }
  }
  throw new Error(`no change stands at ${position}`);
}

function firstUnlike(
  once: readonly MadeEvent[],
  again: readonly MadeEvent[],
): Violation["told"] | undefined {
  const length = Math.max(once.length, again.length);
  for (let i = 0; i < length; i++) {
    const [a, b] = [once[i], again[i]];
    if (a === undefined || b === undefined || !isAlike(a, b)) return { once: a, again: b };
  }
  return undefined;
}

function isAlike(a: MadeEvent, b: MadeEvent): boolean {
  return (
    a.id === b.id &&
    a.stream === b.stream &&
    a.type === b.type &&
    a.timeUs === b.timeUs &&
    a.position === b.position &&
    a.data === b.data &&
    a.causationId === b.causationId
  );
}
