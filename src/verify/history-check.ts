import { isDecided, isFoldable } from "./as-of-snapshot.ts";
import { recordedRoles, type RecordedRole } from "./recorded-columns.ts";
import { streamTypeOf } from "../mapping/stream-id.ts";
import { timestampUs } from "../mapping/valid-time.ts";
import { CODECS, cellFromJson } from "../model/codec.ts";
import { cellOf } from "../model/column-definition.ts";
import type { EventShape, MappingDefinition } from "../model/mapping-definition.ts";
import { foldedKey, type StreamState } from "../projection/fold.ts";
import type { FoldEvent } from "../store/event-store.ts";

/** What the events of one stream cannot have been, whatever the rows are now. */
export interface Flaw {
  /**
   * - `hole`: versions before this event are not there.
   * - `doubled`: it tells once more what the event before it told.
   * - `mistimed`: its own time is not the one that it tells of its row.
   * - `broken`: what it says was there before is not what the events before it led to.
   */
  readonly verdict: "hole" | "doubled" | "mistimed" | "broken";
  readonly stream: string;
  /** Of the event with which it shows. */
  readonly version: number;
  /** Of the row, and its key; absent for a hole. */
  readonly table?: string;
  readonly key?: string;
  /** Columns that were otherwise; none where the whole row was. */
  readonly columns: readonly string[];
}

/** Flaws of one stream that are told; one is enough to look at it. */
const FLAWS_PER_STREAM_MAX = 20;

type Data = Readonly<Record<string, unknown>>;

/**
 * Follows the events of streams as they are folded, each before it is applied, and notes where they do not
 * follow on from each other. The fold of such events may well be the rows: what was lost may have been
 * written again.
 *
 * Only what is certain is noted:
 *
 * - Columns that any recorded mapping has otherwise (a type, a name, a key) are left out: the log does not
 *   tell what a schema change made of the rows before it.
 * - What services decided, and all behind it, is only numbered: it is held against the rows where it is
 *   written back.
 * - An event that restates its aggregate says itself that what was told before did not lead to it, so
 *   flaws before it are settled.
 */
export class HistoryCheck {
  readonly #mappings: ReadonlyMap<number, MappingDefinition>;
  readonly #roles = new Map<string, ReadonlyMap<string, RecordedRole>>();
  #stream: string | undefined;
  #version = 0;
  #before: FoldEvent | undefined;
  /** False behind what a service decided. */
  #isFollowed = true;
  #flaws: Flaw[] = [];

  constructor(mappings: ReadonlyMap<number, MappingDefinition>) {
    this.#mappings = mappings;
  }

  /** Looks at the next event. @param state what the events before it came to */
  look(state: StreamState, event: FoldEvent): void {
    if (event.stream !== this.#stream) this.#begin(event.stream);
    if (event.version !== this.#version + 1) this.#note({ verdict: "hole", event });
    this.#version = event.version;
    if (!isFoldable(event)) return;
    if (isDecided(event)) this.#isFollowed = false;
    this.#follow(state, event);
    this.#before = event;
  }

  /** The flaws of the stream that was looked at last, once it is at its end. */
  take(): readonly Flaw[] {
    const flaws = this.#flaws;
    this.#flaws = [];
    return flaws;
  }

  #begin(stream: string): void {
    this.#stream = stream;
    this.#version = 0;
    this.#before = undefined;
    this.#isFollowed = true;
    this.#flaws = [];
  }

  #follow(state: StreamState, event: FoldEvent): void {
    const type = streamTypeOf(event.stream);
    const { data, origin } = event;
    const shape = this.#shapeOf(type, event);
    if (shape === undefined) return;
    if (shape.kind === "restated") {
      if (data["$continues"] === true) return;
      this.#flaws = [];
      this.#isFollowed = true;
      return;
    }
    if (!this.#isFollowed) return;
    const name = shape.kind === "any" ? String(data["$row"]) : shape.role;
    if (origin === "baseline") {
      // Tables that joined have baseline events of their own, and large aggregates several.
      if (this.#isToldAgain(event)) this.#note({ verdict: "doubled", event });
      return;
    }
    const role = this.#rolesOf(type).get(name);
    if (role === undefined) return;
    const key = foldedKey(role, data);
    const row = state.get(name)?.get(key);
    const isNew = shape.kind === "created" || (shape.kind === "any" && data["$op"] === "insert");
    if (isNew ? row !== undefined : row === undefined)
      return this.#unconnected(event, role, key, []);
    if (isNew || row === undefined) return;
    const was = data["$was"] as Data | undefined;
    const columns: string[] = [];
    for (const column of was === undefined ? [] : Object.keys(was)) {
      const known = role.columns.get(column);
      if (known === undefined) continue;
      const told = cellFromJson(CODECS[known.codec], was![column]);
      if (told !== cellOf(row, known)) columns.push(column);
    }
    if (columns.length > 0) this.#unconnected(event, role, key, columns);
    const isUpdate = shape.kind === "changed" || data["$op"] === "update";
    if (isUpdate) this.#followTime(event, name, key, was);
  }

  /** An update that sets the valid time of its row happened then; others, and moves, need not have. */
  #followTime(event: FoldEvent, role: string, key: string, was: Data | undefined): void {
    const { data, stream, mappingVersion = -1, time } = event;
    const definition =
      this.#mappings.get(mappingVersion)?.streams[streamTypeOf(stream)]?.roles[role];
    const column = definition?.columns.find(({ name }) => name === definition.validTime);
    if (definition === undefined || column === undefined || was === undefined) return;
    const { name, codec } = column;
    if (!Object.hasOwn(was, name) || !Object.hasOwn(data, name)) return;
    const told = timestampUs(cellFromJson(CODECS[codec], data[name]));
    const own = timestampUs(time.replace("T", " ").replace("Z", "+00"));
    // Beyond some years microseconds are not kept.
    if (told === undefined || own === undefined || told === own || !isExact(told)) return;
    const { table } = definition;
    this.#note({ verdict: "mistimed", event, table, key, columns: [name] });
  }

  #unconnected(
    event: FoldEvent,
    { table }: RecordedRole,
    key: string,
    columns: readonly string[],
  ): void {
    const verdict = this.#isToldAgain(event) ? "doubled" : "broken";
    this.#note({ verdict, event, table, key, columns: verdict === "doubled" ? [] : columns });
  }

  /** Within one transaction a change that is made twice has something else in between. */
  #isToldAgain({ type, origin, sourceTransaction, data }: FoldEvent): boolean {
    const before = this.#before;
    return (
      before !== undefined &&
      before.type === type &&
      before.origin === origin &&
      before.sourceTransaction === sourceTransaction &&
      JSON.stringify(before.data) === JSON.stringify(data)
    );
  }

  #note({ event, columns = [], ...flaw }: Noted): void {
    if (this.#flaws.length >= FLAWS_PER_STREAM_MAX) return;
    const { stream, version } = event;
    this.#flaws.push({ ...flaw, stream, version, columns });
  }

  #shapeOf(streamType: string, { type, mappingVersion = -1 }: FoldEvent): EventShape | undefined {
    const streams = this.#mappings.get(mappingVersion)?.streams ?? {};
    const events = Object.hasOwn(streams, streamType) ? streams[streamType]!.events : {};
    return Object.hasOwn(events, type) ? events[type] : undefined;
  }

  #rolesOf(streamType: string): ReadonlyMap<string, RecordedRole> {
    let roles = this.#roles.get(streamType);
    if (roles === undefined)
      this.#roles.set(streamType, (roles = recordedRoles(this.#mappings, streamType)));
    return roles;
  }
}

/** Whether times around it are told apart by microseconds. */
function isExact(timeUs: number): boolean {
  return Math.abs(timeUs) < Number.MAX_SAFE_INTEGER - 1_000_000;
}

interface Noted extends Omit<Flaw, "stream" | "version" | "columns"> {
  readonly event: FoldEvent;
  readonly columns?: readonly string[];
}
