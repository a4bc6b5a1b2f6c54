import type { Mapping } from "./compile.ts";
import type { TableMapper } from "./table-mapper.ts";
import type { Cell } from "../model/cell.ts";
import type { Change, RowChange } from "../model/change.ts";
import { cellOf, type ColumnDefinition, type ToldRow } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** Last known images of rows whose log does not carry them. JSON text by column name. */
export type ImageLookup = (
  table: string,
  keys: readonly string[],
) => Promise<readonly (string | undefined)[]>;

/** What became of an image. Same shape as the store's `ImageChange`. */
export interface RowImage {
  readonly table: string;
  readonly key: string;
  readonly image: string | undefined;
}

/**
 * Completes the before and after images of changes, in place and in order, so that the mapping never
 * meets a value it does not know: large values that the log did not repeat come from the old row, and
 * the old row comes from the log or from the image that Banyan keeps. Never from a later read.
 *
 * @returns what the kept images are after these changes, to be stored with their events
 * @throws whatever `lookup` throws. A missing image is not an error here: the change keeps an
 *   undefined or partial `before`, and {@link assertComplete} refuses it when it is mapped.
 */
export async function completeImages(
  changes: readonly Change[],
  mapping: Mapping,
  lookup: ImageLookup,
): Promise<readonly RowImage[]> {
  const images = await lookUpImages(changes, mapping, lookup);
  if (images === undefined) return [];
  const results: RowImage[] = [];
  for (const change of changes) {
    if (change.kind === "truncate") continue;
    const mapper = mapping.mapperOf(change.table);
    if (mapper === undefined || !mapper.keepsImages) continue;
    const columns = mapping.columnsOf(change.table);
    completeKept(change, mapper, columns, images.get(change.table.name)!, results);
  }
  return results;
}

/** By table and row key; undefined for a row without. They are kept up to date while changes are gone through. */
export type ImagesAtHand = ReadonlyMap<string, Map<string, string | undefined>>;

/**
 * Fills large values from old rows that the log carries whole, and fetches the images that the rest
 * needs.
 *
 * @returns undefined when no changed table keeps images
 */
export async function lookUpImages(
  changes: readonly Change[],
  mapping: Mapping,
  lookup: ImageLookup,
): Promise<ImagesAtHand | undefined> {
  const wanted = keysToLookUp(changes, mapping);
  if (wanted === undefined) return undefined;
  const images = new Map<string, Map<string, string | undefined>>();
  for (const [table, keys] of wanted) {
    const list = [...keys];
    const found = list.length === 0 ? [] : await lookup(table, list);
    images.set(table, new Map(list.map((key, i) => [key, found[i]])));
  }
  return images;
}

/** Keys whose image is needed from the store; undefined when no changed table keeps images. */
function keysToLookUp(
  changes: readonly Change[],
  mapping: Mapping,
): Map<string, Set<string>> | undefined {
  let wanted: Map<string, Set<string>> | undefined;
  for (const change of changes) {
    if (change.kind === "truncate") continue;
    if (change.kind === "update") completeFromLog(change);
    const mapper = mapping.mapperOf(change.table);
    if (mapper === undefined || !mapper.keepsImages) continue;
    wanted ??= new Map();
    let keys = wanted.get(change.table.name);
    if (keys === undefined) wanted.set(change.table.name, (keys = new Set()));
    if (change.kind !== "insert" && !isWhole(change.before)) keys.add(oldKey(change, mapper));
  }
  return wanted;
}

/** Fills large values that the log did not repeat from the whole old row, where it is there. */
function completeFromLog(change: RowChange): void {
  const { before, after } = change;
  if (before === undefined || after === undefined || !after.includes(undefined)) return;
  change.after = after.map((cell, i) => (cell === undefined ? before[i] : cell));
}

export function oldKey(change: RowChange, mapper: TableMapper): string {
  return mapper.keyOf(change.before ?? change.after!);
}

export function completeKept(
  change: RowChange,
  mapper: TableMapper,
  columns: readonly ColumnDefinition[],
  images: Map<string, string | undefined>,
  results: RowImage[],
): void {
  const table = change.table.name;
  const set = (key: string, image: string | undefined): void => {
    images.set(key, image);
    results.push({ table, key, image });
  };
  if (change.kind !== "insert") {
    const key = oldKey(change, mapper);
    const image = images.get(key);
    const known = image === undefined ? undefined : decodeImage(columns, image);
    const logged = change.before;
    change.before =
      known === undefined
        ? logged
        : known.map((cell, i) => (logged?.[i] === undefined ? cell : logged[i]));
    if (change.kind === "delete") set(key, undefined);
    else {
      completeFromLog(change);
      const moved = mapper.keyOf(change.after!);
      if (moved !== key) set(key, undefined);
    }
  }
  if (change.after !== undefined && !change.after.includes(undefined)) {
    set(mapper.keyOf(change.after), encodeImage(change.table, change.after));
  }
}

/** @throws BanyanError `BEFORE_IMAGE_MISSING` when the mapping would have to guess */
export function assertComplete(change: RowChange): void {
  const { kind, before, after } = change;
  if ((kind === "insert" || isWhole(before)) && (kind === "delete" || isWhole(after))) return;
  throw new BanyanError(
    "BEFORE_IMAGE_MISSING",
    `the row of ${change.table.name} before its ${kind} is not known`,
    { hint: `ALTER TABLE … REPLICA IDENTITY FULL makes the log carry it; see docs/errors.md` },
  );
}

export function isWhole(cells: Cells | undefined): boolean {
  return cells !== undefined && !cells.includes(undefined);
}

/** A row's image as JSON text: canonical text by column name. */
export function encodeImage(table: SourceTable, cells: Cells): string {
  const image: Record<string, Cell> = {};
  for (let i = 0; i < table.columns.length; i++) image[table.columns[i]!.name] = cells[i];
  return JSON.stringify(image);
}

/** Inverse of {@link encodeImage}, perhaps for a newer shape: what the image lacks is as a fold has it. */
export function decodeImage(columns: readonly ColumnDefinition[], image: string): Cell[] {
  const told = JSON.parse(image) as ToldRow;
  return columns.map((column) => cellOf(told, column));
}
