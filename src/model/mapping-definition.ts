import type { ColumnDefinition } from "./column-definition.ts";

/**
 * What a fold must know of one mapping version: plain data, stored beside the events it explains, so
 * that old events fold as they were meant although the config has moved on.
 */
export interface MappingDefinition {
  /** By stream type, e.g. `order`. */
  readonly streams: Readonly<Record<string, StreamDefinition>>;
}

export interface StreamDefinition {
  /** Role of the root row; also the key of its entry in `roles`. */
  readonly root: string;
  /** By role: the root and each child table under the name that the config gave it. */
  readonly roles: Readonly<Record<string, RoleDefinition>>;
  /** By event type: which row of which role it creates, changes or removes. */
  readonly events: Readonly<Record<string, EventShape>>;
}

export interface RoleDefinition {
  /** Qualified table name. */
  readonly table: string;
  readonly columns: readonly ColumnDefinition[];
  /** Columns of the row's own key. */
  readonly key: readonly string[];
  /** Of a child: its column → the root's key column that it holds. */
  readonly parent?: Readonly<Record<string, string>>;
  /** Column that says when a change happened which set it. */
  readonly validTime?: string;
  /** True once images of the rows are kept beside the events. They are kept on, so that they never grow old. */
  readonly images?: true;
}

/**
 * The derived inverse of an event type.
 *
 * - `created`: `data` holds every column of the row, and under each name in `with` an array of child rows.
 * - `restated`: as `created`, in place of all that was told before; `data.$gap` says why, and from where
 *   on history is not known. A further part of a large aggregate has `$continues`, and adds to the one before.
 * - `changed`: `data` holds the key and the columns that have a new value; under `$data` what a
 *   rule's function made of further columns, which the function's inverse turns back.
 * - `removed`: `data` holds the key.
 * - `any`: the fallback: `data.$row` names the role and `data.$op` is insert, update or delete.
 */
export type EventShape = (
  | { readonly kind: "restated"; readonly role: string; readonly with: readonly string[] }
  | { readonly kind: "created"; readonly role: string; readonly with: readonly string[] }
  | { readonly kind: "changed"; readonly role: string; readonly inverse?: "function" }
  | { readonly kind: "removed"; readonly role: string }
  | { readonly kind: "any" }
) & {
  /** The rule in one line, for people. */
  readonly told?: string;
};
