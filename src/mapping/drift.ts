import type { RolePlan } from "./stream-plan.ts";
import type { ColumnDefinition, UntoldReason } from "../model/column-definition.ts";
import { BanyanError } from "../model/errors.ts";
import type { SourceTable } from "../model/table.ts";

/** How a table's shape differs from the one before. */
export interface Drift {
  readonly table: string;
  readonly added: readonly string[];
  readonly dropped: readonly string[];
  readonly retyped: readonly string[];
  /** Of those added and dropped, the pairs that are one column under another name. */
  readonly renamed: readonly { readonly from: string; readonly to: string }[];
  /** Columns in which rows now hold values that the log does not tell: only a new baseline would. */
  readonly untold: readonly { readonly column: string; readonly why: UntoldReason }[];
  /** Set when a rule uses what is gone: the table's streams stop. */
  readonly broken: BanyanError | undefined;
}

type ShapeChange = Pick<Drift, "added" | "dropped" | "retyped">;

export function compareShapes(known: SourceTable, now: SourceTable): ShapeChange | undefined {
  const old = new Map(known.columns.map((column) => [column.name, column]));
  const names = new Set(now.columns.map((column) => column.name));
  const added = now.columns.filter((column) => !old.has(column.name)).map((column) => column.name);
  const dropped = [...old.keys()].filter((name) => !names.has(name));
  const retyped = now.columns
    .filter((column) => (old.get(column.name)?.type ?? column.type) !== column.type)
    .map((column) => column.name);
  if (added.length + dropped.length + retyped.length === 0) return undefined;
  return { added, dropped, retyped };
}

/**
 * What of a change the first shape from the log really tells. The log may lie behind the catalogue that
 * the run began with, and then what it lacks did not exist yet; or the table was altered since.
 *
 * @param current the catalogue's shape as it is now; undefined when that is not known
 */
export function sinceCatalogue(
  change: ShapeChange,
  now: SourceTable,
  current: SourceTable | undefined,
): ShapeChange {
  const inLog = new Map(now.columns.map(({ name, type }) => [name, type]));
  const inCatalogue = new Map(current?.columns.map(({ name, type }) => [name, type]));
  return {
    added: change.added,
    dropped: change.dropped.filter((name) => current !== undefined && !inCatalogue.has(name)),
    retyped: change.retyped.filter((name) => inCatalogue.get(name) === inLog.get(name)),
  };
}

/** What became of rows that were there before: by the columns' histories after the change. */
export function silentChanges(
  change: ShapeChange,
  columns: readonly ColumnDefinition[],
): Pick<Drift, "renamed" | "untold"> {
  const fresh = new Set([...change.added, ...change.retyped]);
  const concerned = columns.filter(({ name }) => fresh.has(name));
  return {
    renamed: concerned.flatMap(({ name, formerly }) => {
      const from = formerly?.[0];
      return from !== undefined && change.dropped.includes(from) ? [{ from, to: name }] : [];
    }),
    untold: concerned.flatMap(({ name, untold }) =>
      untold === undefined ? [] : [{ column: name, why: untold }],
    ),
  };
}

/** The error of a shape that no longer fits what the config says of the table. */
export function brokenBy(
  plan: RolePlan,
  table: SourceTable,
  change: ShapeChange,
): BanyanError | undefined {
  const hint =
    "Change the config to the new schema, start banyan run again, then: banyan quarantine retry";
  const error = (column: string, what: string): BanyanError =>
    new BanyanError("SCHEMA_DRIFT", `column "${column}" of ${table.name} ${what}`, {
      hint,
      detail: { table: table.name, column },
    });
  for (const [user, columns] of usedColumns(plan)) {
    const name = columns.find((column) => change.dropped.includes(column));
    if (name !== undefined) return error(name, `was dropped, but ${user} uses it`);
    const retyped = columns.find((column) => change.retyped.includes(column));
    if (retyped !== undefined) return error(retyped, `was given another type, but ${user} uses it`);
  }
  const { child, stream } = plan;
  for (const name of change.added) {
    if (name.startsWith("$")) return error(name, "begins with $, which is kept for Banyan");
    if (name === "__proto__") return error(name, "has a name that no event can carry");
    if (child === undefined && Object.hasOwn(stream.ref.children, name))
      return error(name, `has the name of a child of stream ${stream.type}`);
  }
  if (table.key.length > 0) return undefined;
  const keyless = `the key of ${table.name} is gone: nothing tells its rows apart any more`;
  return new BanyanError("SCHEMA_DRIFT", keyless, { hint, detail: { table: table.name } });
}

/** Columns that the config relies on, under the name of what relies on them. */
function usedColumns({
  child,
  role,
  stream,
  tableRef,
}: RolePlan): (readonly [user: string, columns: readonly string[]])[] {
  const validTime = child === undefined ? stream.ref.validTime : child.validTime;
  const used: [string, readonly string[]][] = [
    [`the parent link of ${role}`, Object.keys(child?.parent ?? {})],
    [`the valid time of ${role}`, validTime === undefined ? [] : [validTime]],
  ];
  for (const { type, rule } of stream.rules) {
    if (rule.table.name !== tableRef.name) continue;
    const ofUpdate =
      rule.on === "update" ? [...rule.anyOf, ...rule.data, ...(rule.transform?.columns ?? [])] : [];
    used.push([`rule ${type}`, [...Object.keys(rule.conditions), ...ofUpdate]]);
  }
  return used;
}
