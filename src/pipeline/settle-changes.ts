import type { Verdict } from "./chunk-frontier.ts";
import type { Frontiers } from "./frontiers.ts";
import type { Mapping } from "../mapping/compile.ts";
import {
  completeKept,
  decodeImage,
  encodeImage,
  isWhole,
  lookUpImages,
  oldKey,
  type ImageLookup,
  type ImagesAtHand,
  type RowImage,
} from "../mapping/row-images.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { Change, RowChange, SourceTransaction } from "../model/change.ts";
import type { ColumnDefinition } from "../model/column-definition.ts";
import { invariant } from "../model/errors.ts";
import type { Cells } from "../model/table.ts";

/** What is told of transactions while a baseline goes on beside them. */
export interface SettledChanges {
  /** Of each transaction. */
  readonly changes: readonly (readonly Change[])[];
  readonly images: readonly RowImage[];
}

/** Changes of one transaction, or a part of it. */
export interface Changes {
  readonly transaction: SourceTransaction;
  readonly changes: readonly Change[];
}

/**
 * Completes changes as `completeImages` does, and leaves out what the chunks of a baseline hold, or will
 * hold. Each side of a change is judged for itself: an update whose old row lies in an aggregate that
 * is left out becomes an insert, one whose new row does a delete.
 *
 * Where the log does not carry old rows, the row before is the kept image. A row without one lay in an
 * aggregate that has yet to be read, if images were kept from the first chunk on; else nobody knows, and
 * the change is parked as it is without a baseline. A row with one may have been read ahead: then its
 * image is told by the aggregate that it names, and goes on with what is left out, until the log has come
 * to where the aggregate was read.
 */
export async function settleChanges(
  transactions: readonly Changes[],
  mapping: Mapping,
  frontiers: Frontiers,
  lookup: ImageLookup,
): Promise<SettledChanges> {
  const all = transactions.flatMap(({ changes }) => changes);
  const images: ImagesAtHand = (await lookUpImages(all, mapping, lookup)) ?? new Map();
  const results: RowImage[] = [];
  const settled = transactions.map(({ transaction, changes }) =>
    changes.flatMap((change) => {
      const told = settle(change, transaction, { mapping, frontiers, images, results });
      return told === undefined ? [] : [told];
    }),
  );
  return { changes: settled, images: results };
}

interface Settling {
  readonly mapping: Mapping;
  readonly frontiers: Frontiers;
  readonly images: ImagesAtHand;
  readonly results: RowImage[];
}

function settle(
  change: Change,
  transaction: SourceTransaction,
  { mapping, frontiers, images, results }: Settling,
): Change | undefined {
  const { name } = change.table;
  const frontier = frontiers.of(mapping.streamOfTable(name)?.type, name);
  if (change.kind === "truncate")
    return frontier === undefined || frontier.tellsAnyOf(transaction) ? change : undefined;
  const mapper = mapping.mapperOf(change.table);
  if (mapper === undefined) return change;
  const columns = mapping.columnsOf(change.table);
  if (frontier === undefined) {
    if (mapper.keepsImages)
      completeKept(change, mapper, columns, images.get(change.table.name)!, results);
    return change;
  }
  const judge = (cells: Cells): Judged => {
    if (!namesStream(mapper, cells)) return "unknown";
    const streamOf = (): string => mapper.streamIdOf(cells);
    const verdict = frontier.verdict(transaction, rootKey(mapper, cells), streamOf, true);
    invariant(verdict !== "waits", "a change waits for its chunk before it is written");
    return verdict;
  };
  const kept = mapper.keepsImages
    ? new KeptImages(mapper, images.get(change.table.name)!, results)
    : undefined;
  if (change.kind === "insert") return settleInsert(change, judge, kept);
  if (kept === undefined && isWhole(change.before)) {
    const left = judge(change.before!) === "told";
    return partOf(change, left, change.after !== undefined && judge(change.after) === "told");
  }
  const mayBeTold = frontier.mayBeTold(transaction, name);
  return settleOld(change, { judge, kept, mapper, columns, mayBeTold });
}

/** `unknown`: the log does not say which aggregate a row belongs to. */
type Judged = Verdict | "unknown";

/** What nobody can judge is told as well: it parks, as it does without a baseline. */
function isTold(verdict: Judged): boolean {
  return verdict === "told" || verdict === "unknown";
}

/** Whether the aggregate of a row can be said: a key column may be among what the log left out. */
function namesStream({ parts }: TableMapper, cells: Cells): boolean {
  return parts.streamColumns.every((column) => cells[column] !== undefined);
}

function isNamedByKey({ parts, table }: TableMapper): boolean {
  return parts.streamColumns.every((column) => table.key.includes(column));
}

/** An update or a delete of which the log does not carry the whole old row, or need not. */
function settleOld(
  change: RowChange,
  {
    judge,
    kept,
    mapper,
    columns,
    mayBeTold,
  }: {
    readonly judge: (cells: Cells) => Judged;
    /** Undefined for a table that once was to carry whole old rows, and does not for this one. */
    readonly kept: KeptImages | undefined;
    readonly mapper: TableMapper;
    readonly columns: readonly ColumnDefinition[];
    /** Whether a row without an image may lie in an aggregate that is told. */
    readonly mayBeTold: boolean;
  },
): RowChange | undefined {
  const key = oldKey(change, mapper);
  const image = kept?.get(key);
  const known = image === undefined ? undefined : decodeImage(columns, image);
  const logged = change.before;
  const before = isWhole(logged)
    ? logged
    : known?.map((cell, i) => (logged?.[i] === undefined ? cell : logged[i]));
  // A root names its aggregate itself: where that is told, an image should be there and is missed.
  const isNamed = mapper.isRoot || (mayBeTold && isNamedByKey(mapper));
  const place = before ?? (isNamed ? (logged ?? change.after) : undefined);
  const left = place !== undefined ? judge(place) : mayBeTold ? "unknown" : "unread";
  // Of a row that was read ahead the image is newer than the change, and says nothing of what was before.
  const hasLeft = isTold(left);
  change.before = hasLeft ? (before ?? logged) : undefined;
  const leave = (): void => {
    if (image !== undefined || left !== "unread") kept?.remove(key);
  };
  if (change.kind === "delete") {
    leave();
    return partOf(change, hasLeft, false);
  }
  const after = change.after!;
  const full = after.map((cell, i) => (cell === undefined ? before?.[i] : cell));
  const joined = judge(full);
  if (hasLeft) change.after = full;
  const moved = mapper.keyOf(full);
  if (moved !== key || joined === "unread") leave();
  const hasJoined = isTold(joined);
  if (hasJoined) kept?.set(moved, change.after!);
  else if (joined === "held" && isWhole(full)) kept?.set(moved, full);
  // Parked by its key alone: what it joins has yet to be read, or holds it.
  if (left === "unknown" && !hasJoined) change.before ??= keyOnly(mapper, full);
  return partOf(change, hasLeft, hasJoined);
}

/** A row as the log has it where it carries no more than the key. */
function keyOnly({ table }: TableMapper, cells: Cells): Cells {
  return cells.map((cell, column) => (table.key.includes(column) ? cell : undefined));
}

function settleInsert(
  change: RowChange,
  judge: (cells: Cells) => Judged,
  kept: KeptImages | undefined,
): RowChange | undefined {
  const after = change.after!;
  const verdict = judge(after);
  if (verdict !== "unread") kept?.set(kept.keyOf(after), after);
  return partOf(change, false, isTold(verdict));
}

/** The sides of a change that are told. */
function partOf(change: RowChange, left: boolean, joined: boolean): RowChange | undefined {
  switch (change.kind) {
    case "insert":
      return joined ? change : undefined;
    case "delete":
      return left ? change : undefined;
    case "update":
      if (left && joined) return change;
      if (left) return { ...change, kind: "delete", after: undefined };
      return joined ? { ...change, kind: "insert", before: undefined } : undefined;
  }
}

export function rootKey(mapper: TableMapper, cells: Cells): readonly (string | null)[] {
  return mapper.parts.streamColumns.map((column) => cells[column] ?? null);
}

/** Images of one table's rows as they become while changes are gone through. */
class KeptImages {
  readonly #mapper: TableMapper;
  readonly #images: Map<string, string | undefined>;
  readonly #results: RowImage[];

  constructor(mapper: TableMapper, images: Map<string, string | undefined>, results: RowImage[]) {
    this.#mapper = mapper;
    this.#images = images;
    this.#results = results;
  }

  keyOf(cells: Cells): string {
    return this.#mapper.keyOf(cells);
  }

  get(key: string): string | undefined {
    return this.#images.get(key);
  }

  /** Of a row of which not all is known there is no image. */
  set(key: string, cells: Cells): void {
    this.#note(key, isWhole(cells) ? encodeImage(this.#mapper.table, cells) : undefined);
  }

  remove(key: string): void {
    this.#note(key, undefined);
  }

  #note(key: string, image: string | undefined): void {
    this.#images.set(key, image);
    this.#results.push({ table: this.#mapper.table.name, key, image });
  }
}
