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
 * aggregate that has yet to be read. A row with one may have been read ahead: then its image is told by
 * the aggregate that it names, and goes on with what is left out, until the log has come to where the
 * aggregate was read.
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
  const judge = (cells: Cells): Verdict => {
    const streamOf = (): string => mapper.streamIdOf(cells);
    const verdict = frontier.verdict(transaction, rootKey(mapper, cells), streamOf, true);
    invariant(verdict !== "waits", "a change waits for its chunk before it is written");
    return verdict;
  };
  if (!mapper.keepsImages) {
    const left = change.before !== undefined && judge(change.before) === "told";
    return partOf(change, left, change.after !== undefined && judge(change.after) === "told");
  }
  const kept = new KeptImages(mapper, images.get(change.table.name)!, results);
  if (change.kind === "insert") return settleInsert(change, judge, kept);
  return settleOld(change, { judge, kept, mapper, columns });
}

/** An update or a delete of a table of whose rows images are kept. */
function settleOld(
  change: RowChange,
  {
    judge,
    kept,
    mapper,
    columns,
  }: {
    readonly judge: (cells: Cells) => Verdict;
    readonly kept: KeptImages;
    readonly mapper: TableMapper;
    readonly columns: readonly ColumnDefinition[];
  },
): RowChange | undefined {
  const key = oldKey(change, mapper);
  const image = kept.get(key);
  const known = image === undefined ? undefined : decodeImage(columns, image);
  const logged = change.before;
  const before = isWhole(logged)
    ? logged
    : known?.map((cell, i) => (logged?.[i] === undefined ? cell : logged[i]));
  // A root names its aggregate itself: where that is told, an image should be there and is missed.
  const place = before ?? (mapper.isRoot ? (logged ?? change.after) : undefined);
  const left = place === undefined ? "unread" : judge(place);
  // Of a row that was read ahead the image is newer than the change, and says nothing of what was before.
  change.before = left === "told" ? (before ?? logged) : undefined;
  const leave = (): void => {
    if (image !== undefined || left !== "unread") kept.remove(key);
  };
  if (change.kind === "delete") {
    leave();
    return partOf(change, left === "told", false);
  }
  const after = change.after!;
  const full = after.map((cell, i) => (cell === undefined ? before?.[i] : cell));
  const joined = judge(full);
  if (left === "told") change.after = full;
  const moved = mapper.keyOf(full);
  if (moved !== key || joined === "unread") leave();
  if (joined === "told") kept.set(moved, change.after!);
  else if (joined === "held" && isWhole(full)) kept.set(moved, full);
  return partOf(change, left === "told", joined === "told");
}

function settleInsert(
  change: RowChange,
  judge: (cells: Cells) => Verdict,
  kept: KeptImages,
): RowChange | undefined {
  const after = change.after!;
  const verdict = judge(after);
  if (verdict !== "unread") kept.set(kept.keyOf(after), after);
  return partOf(change, false, verdict === "told");
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
