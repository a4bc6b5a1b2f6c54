import type { RowWrite } from "./legacy-writer.ts";
import { keyOfStream } from "../mapping/stream-id.ts";
import { cellOf, type ColumnDefinition, type ToldRow } from "../model/column-definition.ts";
import type { RoleDefinition, StreamDefinition } from "../model/mapping-definition.ts";
import type { FoldedRow, StreamState } from "../projection/fold.ts";

/**
 * What brings the rows of an aggregate from one fold to another, the root's first.
 *
 * A column of which no event has told is neither compared nor written.
 */
export function diffRows(
  stream: string,
  definition: StreamDefinition,
  before: StreamState,
  after: StreamState,
): RowWrite[] {
  const { root, roles } = definition;
  const children = Object.keys(roles).filter((role) => role !== root);
  return [root, ...children].flatMap((role) => {
    const of = roles[role];
    if (of === undefined) return [];
    const parents = parentColumns(stream, definition, of);
    return diffRole(of, before.get(role) ?? NO_ROWS, after.get(role) ?? NO_ROWS, parents);
  });
}

const NO_ROWS: ReadonlyMap<string, FoldedRow> = new Map();

function diffRole(
  { table, columns, key }: RoleDefinition,
  before: ReadonlyMap<string, FoldedRow>,
  after: ReadonlyMap<string, FoldedRow>,
  parents: ToldRow,
): RowWrite[] {
  const writes: RowWrite[] = [];
  for (const [id, row] of before) {
    if (!after.has(id)) writes.push({ table, key, before: toldOf(row, columns), after: undefined });
  }
  for (const [id, row] of after) {
    const is = toldOf(row, columns);
    const old = before.get(id);
    if (old === undefined) {
      writes.push({ table, key, before: undefined, after: { ...parents, ...is } });
      continue;
    }
    const was = toldOf(old, columns);
    const differing = Object.entries(is).filter(
      ([name, cell]) => !Object.hasOwn(was, name) || was[name] !== cell,
    );
    if (differing.length > 0)
      writes.push({ table, key, before: was, after: Object.fromEntries(differing) });
  }
  return writes;
}

/** The columns that events have told of, or that are known without. */
function toldOf(row: FoldedRow, columns: readonly ColumnDefinition[]): ToldRow {
  const told: Record<string, string | null> = {};
  for (const column of columns) {
    const { name, formerly = [], filled } = column;
    const isKnown =
      filled !== undefined || [name, ...formerly].some((word) => Object.hasOwn(row, word));
    if (isKnown) told[name] = cellOf(row, column);
  }
  return told;
}

/** What a child's row holds of its root's key, which an event need not repeat. */
function parentColumns(
  stream: string,
  { root, roles }: StreamDefinition,
  { parent = {} }: RoleDefinition,
): ToldRow {
  const rootKey = roles[root]?.key ?? [];
  const values = keyOfStream(stream);
  return Object.fromEntries(
    Object.entries(parent).flatMap(([column, of]) => {
      const at = rootKey.indexOf(of);
      return at < 0 ? [] : [[column, values[at] ?? null]];
    }),
  );
}
