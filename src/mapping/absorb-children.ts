import type { Mapping } from "./compile.ts";
import type { AbsorbedRow, TableMapper } from "./table-mapper.ts";
import type { Change, RowChange } from "../model/change.ts";
import type { Cells } from "../model/table.ts";

/** Child inserts that become part of their root's insert event. */
export interface Absorption {
  readonly taken: ReadonlySet<RowChange>;
  readonly children: ReadonlyMap<RowChange, readonly AbsorbedRow[]>;
  /** Undoes what a root insert took, when that insert is not told after all. */
  readonly giveBack: (root: RowChange) => void;
}

/**
 * Finds the child rows that an insert of their root takes with it (`inserted(…, { with })`): inserted
 * after the root in the same transaction, and touched in its stream by nothing before that in it. The
 * row is told earlier than it was written, which is harmless just because nothing had touched it.
 *
 * @param changes all changes of the streams concerned, in commit order
 */
export function absorbChildren(
  changes: readonly Change[],
  mapping: Mapping,
  blocked: ReadonlySet<string>,
): Absorption | undefined {
  if (changes.length < 2) return undefined;
  let open: Map<string, { root: RowChange; roles: readonly string[] }> | undefined;
  const touched = new Set<string>();
  const taken = new Set<RowChange>();
  const children = new Map<RowChange, AbsorbedRow[]>();
  const sources = new Map<RowChange, RowChange[]>();
  for (const change of changes) {
    if (change.kind === "truncate") continue;
    const mapper = mapping.mapperOf(change.table);
    if (mapper === undefined || mapper.parts.broken !== undefined) continue;
    if (mapper.isRoot) {
      if (change.kind !== "insert" || mapper.parts.inserts.length === 0) continue;
      const roles = tryRule(mapper, change);
      if (roles === undefined || roles.length === 0) continue;
      const stream = mapper.streamOf(change.after!);
      if (!blocked.has(stream)) (open ??= new Map()).set(stream, { root: change, roles });
      continue;
    }
    const fresh = touch(change, mapper, touched);
    if (open === undefined || change.kind !== "insert" || !fresh) continue;
    const owner = open.get(mapper.streamIdOf(change.after!));
    if (owner === undefined || !owner.roles.includes(mapper.role)) continue;
    taken.add(change);
    push(children, owner.root, { mapper, cells: change.after! });
    push(sources, owner.root, change);
  }
  if (taken.size === 0) return undefined;
  return {
    taken,
    children,
    giveBack: (root) => sources.get(root)?.forEach((change) => taken.delete(change)),
  };
}

/** Roles the firing rule takes along; a throwing condition is left to the mapping itself to report. */
function tryRule(mapper: TableMapper, change: RowChange): readonly string[] | undefined {
  try {
    mapper.streamOf(change.after!);
    return mapper.insertRule(change.after!)?.with;
  } catch {
    return undefined;
  }
}

/**
 * Notes the rows a child change touches. @returns whether this is the first touch of the new row
 *
 * Each stream for itself, because a stream's events depend on its own changes only: that a row of the
 * same key left another stream before says nothing here.
 */
function touch(change: RowChange, mapper: TableMapper, touched: Set<string>): boolean {
  const place = (cells: Cells): string =>
    `${mapper.role}\0${mapper.streamIdOf(cells)}\0${mapper.keyOf(cells)}`;
  if (change.before !== undefined) touched.add(place(change.before));
  if (change.after === undefined) return false;
  const key = place(change.after);
  if (touched.has(key)) return false;
  touched.add(key);
  return true;
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const list = map.get(key);
  if (list === undefined) map.set(key, [value]);
  else list.push(value);
}
