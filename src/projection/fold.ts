import { CODECS, cellFromJson, cellToJson } from "../model/codec.ts";
import { cellOf } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { RecordedEvent } from "../model/event.ts";
import type {
  EventShape,
  MappingDefinition,
  RoleDefinition,
  StreamDefinition,
} from "../model/mapping-definition.ts";

/** One row as canonical text by column name. A column that no event has told of is absent; see `cellOf`. */
export type FoldedRow = Record<string, string | null>;

/** The rows of one aggregate: by role, then by key text. */
export type StreamState = Map<string, Map<string, FoldedRow>>;

/** What a fold reads of an event. */
export type Foldable = Pick<
  RecordedEvent,
  "stream" | "version" | "type" | "data" | "mappingVersion"
>;

/** A user's inverse of transformed data, by `<stream type>/<event type>`. */
export type Inverses = ReadonlyMap<string, (data: never) => object>;

type Data = Readonly<Record<string, unknown>>;

/**
 * Folds events back into the rows they came from, by the derived inverse of the mapping version that
 * wrote each of them. Needs no user code except the inverse of a rule that uses a function.
 */
export class Folder {
  readonly #mappings: ReadonlyMap<number, MappingDefinition>;
  readonly #inverses: Inverses;

  constructor(mappings: ReadonlyMap<number, MappingDefinition>, inverses: Inverses) {
    this.#mappings = mappings;
    this.#inverses = inverses;
  }

  /** Applies one event to the state, in place. Events of a stream must come in version order. */
  apply(state: StreamState, event: Foldable): void {
    const streamType = event.stream.slice(0, event.stream.indexOf("-"));
    const mapping = this.#mappings.get(event.mappingVersion ?? -1);
    const stream = memberOf(mapping?.streams, streamType);
    const shape = memberOf(stream?.events, event.type);
    if (stream === undefined || shape === undefined) {
      throw new BanyanError(
        "INVARIANT_BROKEN",
        `no mapping version says how ${event.type} of ${event.stream} folds`,
        { detail: { version: event.version } },
      );
    }
    const inverse = this.#inverses.get(`${streamType}/${event.type}`);
    if (inverse === undefined && Object.hasOwn(event.data, "$data")) {
      throw new BanyanError(
        "MAPPING_INVALID",
        `${event.type} of ${event.stream} was made by a rule with a function, and no rule of that name has its inverse now`,
        {
          hint: `Give rule ${event.type} its "transform" back`,
          detail: { version: event.version },
        },
      );
    }
    applyShape(state, shape, stream.roles, event.data, inverse as Inverse | undefined);
  }

  /** Rows as JSON values, by the newest mapping of the type, for people and services to read. */
  toJson(streamType: string, state: StreamState): Record<string, unknown> {
    const stream = newestOf(this.#mappings, streamType);
    const json: Record<string, unknown> = {};
    if (stream === undefined) return json;
    for (const [role, definition] of Object.entries(stream.roles)) {
      const rows = [...(state.get(role)?.values() ?? [])].map((row) => rowToJson(definition, row));
      if (role === stream.root) Object.assign(json, rows[0]);
      else json[role] = rows;
    }
    return json;
  }
}

/** Mappings of other pipelines may be newer, and know nothing of the type. */
function newestOf(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
): StreamDefinition | undefined {
  const versions = [...mappings.keys()].sort((a, b) => b - a);
  for (const version of versions) {
    const stream = memberOf(mappings.get(version)!.streams, streamType);
    if (stream !== undefined) return stream;
  }
  return undefined;
}

/** Names come from events, and "constructor" is a member of every object. */
function memberOf<T>(of: Readonly<Record<string, T>> | undefined, name: string): T | undefined {
  return of !== undefined && Object.hasOwn(of, name) ? of[name] : undefined;
}

type Inverse = (data: Data) => Data;

function applyShape(
  state: StreamState,
  shape: EventShape,
  roles: Readonly<Record<string, RoleDefinition>>,
  data: Data,
  inverse: Inverse | undefined,
): void {
  switch (shape.kind) {
    case "any": {
      const role = String(data["$row"]);
      const definition = roles[role]!;
      if (data["$op"] === "delete") rowsOf(state, role).delete(foldedKey(definition, data));
      else if (data["$op"] === "insert") setRow(state, role, definition, data);
      else changeRow(state, role, definition, data);
      return;
    }
    case "restated":
    case "created":
      // What was told before is not what led here.
      if (shape.kind === "restated" && data["$continues"] !== true) state.clear();
      if (data["$root"] !== null) setRow(state, shape.role, roles[shape.role]!, data);
      for (const child of shape.with) {
        for (const row of (data[child] as readonly Data[] | undefined) ?? []) {
          setRow(state, child, roles[child]!, row);
        }
      }
      return;
    case "changed": {
      const made = data["$data"];
      const more = made === undefined ? data : { ...data, ...inverse?.(made as Data) };
      changeRow(state, shape.role, roles[shape.role]!, more);
      return;
    }
    case "removed":
      rowsOf(state, shape.role).delete(foldedKey(roles[shape.role]!, data));
  }
}

function rowsOf(state: StreamState, role: string): Map<string, FoldedRow> {
  let rows = state.get(role);
  if (rows === undefined) state.set(role, (rows = new Map()));
  return rows;
}

function setRow(state: StreamState, role: string, definition: RoleDefinition, data: Data): void {
  const row: FoldedRow = {};
  for (const { name, codec } of definition.columns) {
    // An event of just before a schema change may lack what the mapping that it is folded by has.
    if (Object.hasOwn(data, name)) row[name] = cellFromJson(CODECS[codec], data[name]);
  }
  rowsOf(state, role).set(foldedKey(definition, data), row);
}

function changeRow(state: StreamState, role: string, definition: RoleDefinition, data: Data): void {
  const rows = rowsOf(state, role);
  const key = foldedKey(definition, data);
  let row = rows.get(key);
  if (row === undefined) rows.set(key, (row = {}));
  for (const { name, codec } of definition.columns) {
    if (Object.hasOwn(data, name)) row[name] = cellFromJson(CODECS[codec], data[name]);
  }
}

/**
 * The row's key as text, unique in its role. Only ever compared with others of the same fold, whose
 * events may have been written when the column was of another type: 1 and "1" are one key.
 */
export function foldedKey({ key }: Pick<RoleDefinition, "key">, data: Data): string {
  if (key.length === 1) return keyPart(data[key[0]!]);
  return JSON.stringify(key.map((name) => keyPart(data[name])));
}

/** NULL is told apart from every text. */
function keyPart(value: unknown): string {
  if (value === null || value === undefined) return String.raw`\0`;
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return text.startsWith("\\") ? `\\${text}` : text;
}

function rowToJson(definition: RoleDefinition, row: FoldedRow): Data {
  const told = definition.columns.filter(
    ({ name, formerly = [], filled }) =>
      filled !== undefined || [name, ...formerly].some((word) => Object.hasOwn(row, word)),
  );
  return Object.fromEntries(
    told.map((column) => {
      const json = cellToJson(CODECS[column.codec], cellOf(row, column));
      return [column.name, JSON.parse(json) as unknown];
    }),
  );
}
