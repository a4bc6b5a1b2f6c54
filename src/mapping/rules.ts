/**
 * The words of a mapping, as a team writes them in `banyan.config.ts`.
 *
 * Everything here is plain data made by small functions, typed by the row types of the tables, so
 * that a misspelt column or an impossible value is an error in the editor.
 */

import { parseQualifiedName, qualifiedName } from "../model/table.ts";

declare const rowType: unique symbol;
declare const withType: unique symbol;

/** A table of the legacy database. `Row` gives each column its JSON form (see docs/3-mapping.md). */
export interface TableRef<Row extends object = object> {
  readonly name: string;
  readonly key: readonly string[] | undefined;
  readonly [rowType]?: Row;
}

type Column<Row> = keyof Row & string;

/** The row type of a table, a rule or a child table. */
export type RowOf<Ref> = Ref extends { readonly [rowType]?: infer Row extends object }
  ? Row
  : never;

/** Row types of the child tables that an insert rule takes along. */
export type WithOf<Ref> = Ref extends { readonly [withType]?: infer With extends object }
  ? With
  : never;

/**
 * Names a table.
 *
 * @param name `table` (in schema public) or `schema.table`, unquoted; a dot inside a name is `\.`
 * @param options.key columns that identify a row, for a table without primary key
 */
export function table<Row extends object>(
  name: string,
  options: { readonly key?: readonly Column<Row>[] } = {},
): TableRef<Row> {
  const { schema, relation } = parseQualifiedName(name);
  return { name: qualifiedName(schema, relation), key: options.key };
}

/** What must hold of one column for an update rule to fire. */
export type ColumnCondition<Value = unknown> =
  | { readonly kind: "becomes" | "is" | "was"; readonly values: readonly Value[] }
  | { readonly kind: "changes" };

/** The column changes, and to one of these values. */
export function becomes<const Value>(...values: readonly Value[]): ColumnCondition<Value> {
  return { kind: "becomes", values };
}

/** The column has one of these values after the change (for an insert or delete: in the row). */
export function is<const Value>(...values: readonly Value[]): ColumnCondition<Value> {
  return { kind: "is", values };
}

/** The column had one of these values before the change. */
export function was<const Value>(...values: readonly Value[]): ColumnCondition<Value> {
  return { kind: "was", values };
}

/** The column changes, whatever to. */
export function changes(): ColumnCondition<never> {
  return { kind: "changes" };
}

/** At least one of these columns changes. */
export function changed<const Name extends string>(
  ...columns: readonly Name[]
): { readonly anyOf: readonly Name[] } {
  return { anyOf: columns };
}

export type RowConditions<Row> = {
  readonly [Name in Column<Row>]?: ColumnCondition<Row[Name]> | Inherited<Name>;
};

/** What every object has under such a name, which is no condition: a column may be called `constructor`. */
type Inherited<Name> = Name extends keyof typeof Object.prototype
  ? (typeof Object.prototype)[Name]
  : never;

/** A user's function over rows, with values in their JSON form. Must be pure. */
type RowPredicate<Row> = (row: Row) => boolean;
type ChangePredicate<Row> = (now: Row, was: Row) => boolean;

/**
 * Data made by a function instead of copied from columns. It claims `columns`; `from` must give them
 * back from the data, and a change for which it does not is not mapped but put into quarantine.
 */
export interface Transform<Row> {
  readonly columns: readonly Column<Row>[];
  readonly to: (now: Row, was: Row) => Readonly<Record<string, unknown>>;
  readonly from: (data: Readonly<Record<string, unknown>>) => Partial<Row>;
}

/** `Row` and `With` are known to the compiler only: rows of the table, and of the child tables it takes along. */
export interface InsertRule<Row extends object = object, With extends object = object> {
  readonly on: "insert";
  readonly [rowType]?: Row;
  readonly [withType]?: With;
  readonly table: TableRef;
  readonly conditions: RowConditions<Record<string, unknown>>;
  readonly where: RowPredicate<never> | undefined;
  readonly with: readonly TableRef[];
}

export interface UpdateRule<Row extends object = object> {
  readonly on: "update";
  readonly [rowType]?: Row;
  readonly table: TableRef;
  readonly conditions: RowConditions<Record<string, unknown>>;
  readonly anyOf: readonly string[];
  readonly where: ChangePredicate<never> | undefined;
  readonly data: readonly string[];
  readonly transform: Transform<never> | undefined;
}

export interface DeleteRule<Row extends object = object> {
  readonly on: "delete";
  readonly [rowType]?: Row;
  readonly table: TableRef;
  readonly conditions: RowConditions<Record<string, unknown>>;
  readonly where: RowPredicate<never> | undefined;
}

export type Rule = InsertRule | UpdateRule | DeleteRule;

/**
 * A row is inserted. The event holds the whole row.
 *
 * @param options.with child tables whose rows, inserted after it in the same transaction, belong to the same event
 * @param options.when column conditions on the new row
 */
export function inserted<Row extends object, Child extends TableRef = never>(
  tableRef: TableRef<Row>,
  options: {
    readonly with?: readonly Child[];
    readonly when?: RowConditions<Row>;
    readonly where?: RowPredicate<Row>;
  } = {},
): InsertRule<Row, RowOf<Child>> {
  return {
    on: "insert",
    table: tableRef,
    conditions: (options.when ?? {}) as RowConditions<Record<string, unknown>>,
    where: options.where as RowPredicate<never> | undefined,
    with: options.with ?? [],
  };
}

/**
 * A row is changed in a certain way. The rule claims the columns of its condition and of `data`;
 * the event holds the key, these columns, and under `$was` the old values of those that changed.
 */
export function updated<Row extends object>(
  tableRef: TableRef<Row>,
  when: RowConditions<Row> | { readonly anyOf: readonly Column<Row>[] },
  options: {
    readonly data?: readonly Column<Row>[];
    readonly where?: ChangePredicate<Row>;
    readonly transform?: Transform<Row>;
  } = {},
): UpdateRule<Row> {
  const anyOf = "anyOf" in when && Array.isArray(when.anyOf) ? (when.anyOf as string[]) : [];
  return {
    on: "update",
    table: tableRef,
    conditions: (anyOf.length > 0 ? {} : when) as RowConditions<Record<string, unknown>>,
    anyOf,
    where: options.where as ChangePredicate<never> | undefined,
    data: options.data ?? [],
    transform: options.transform as Transform<never> | undefined,
  };
}

/** A row is deleted. The event holds the key, and the whole old row under `$was`. */
export function deleted<Row extends object>(
  tableRef: TableRef<Row>,
  options: { readonly when?: RowConditions<Row>; readonly where?: RowPredicate<Row> } = {},
): DeleteRule<Row> {
  return {
    on: "delete",
    table: tableRef,
    conditions: (options.when ?? {}) as RowConditions<Record<string, unknown>>,
    where: options.where as RowPredicate<never> | undefined,
  };
}

export interface ChildRef<Row extends object = object> {
  readonly table: TableRef<Row>;
  /** Child column to the root's key column it refers to. */
  readonly parent: Readonly<Record<string, string>>;
  readonly validTime: string | undefined;
}

/** A table whose rows belong to the root row that its foreign key names. */
export function child<Row extends object>(
  tableRef: TableRef<Row>,
  parent: { readonly [Name in Column<Row>]?: string | Inherited<Name> },
  options: { readonly validTime?: Column<Row> } = {},
): ChildRef<Row> {
  return {
    table: tableRef,
    parent: parent as Record<string, string>,
    validTime: options.validTime,
  };
}

type Children = Readonly<Record<string, ChildRef>>;
type Events = Readonly<Record<string, Rule>>;
type Nothing = Readonly<Record<never, never>>;

export interface StreamRef<
  Row extends object = object,
  Roles extends Children = Children,
  Rules extends Events = Events,
> {
  readonly root: TableRef<Row>;
  readonly children: Roles;
  readonly validTime: string | undefined;
  readonly events: Rules;
  readonly otherwise: string;
  readonly baseline: string | undefined;
  readonly truncate: "refuse" | "events";
  readonly inverses: Readonly<Record<string, Transform<never>["from"]>>;
}

/**
 * An aggregate: a root table, its child tables, and the rules that name what happens to it.
 *
 * @param options.validTime column of the root that says when a change happened in the business; commit time when absent
 * @param options.otherwise event type for all that no rule claims
 * @param options.baseline event type of the first event of rows that were there before; `<Type>Baselined` when absent
 * @param options.inverses by event type, the function's inverse of a rule that is no longer here: its events still fold by it
 * @param options.truncate what a TRUNCATE does: stop with an error (default), or one fallback event per row lost
 */
export function stream<
  Row extends object,
  Roles extends Children = Nothing,
  Rules extends Events = Nothing,
>(
  root: TableRef<Row>,
  options: {
    readonly children?: Roles;
    readonly validTime?: Column<Row>;
    readonly events?: Rules;
    readonly otherwise: string;
    readonly baseline?: string;
    readonly truncate?: "refuse" | "events";
    readonly inverses?: Readonly<Record<string, Transform<Row>["from"]>>;
  },
  // Nothing is inferred from where the stream stands, which would take any name.
): StreamRef<Row, NoInfer<Roles>, NoInfer<Rules>> {
  return {
    root,
    children: options.children ?? ({} as Roles),
    validTime: options.validTime,
    events: options.events ?? ({} as Rules),
    otherwise: options.otherwise,
    baseline: options.baseline,
    truncate: options.truncate ?? "refuse",
    inverses: (options.inverses ?? {}) as unknown as StreamRef["inverses"],
  };
}
