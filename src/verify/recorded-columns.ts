import type { ColumnDefinition } from "../model/column-definition.ts";
import type { MappingDefinition, RoleDefinition } from "../model/mapping-definition.ts";

/** A table's role as all recorded mappings have it. */
export interface RecordedRole extends Pick<RoleDefinition, "table" | "key"> {
  /** Those that no mapping has otherwise, or does not have. */
  readonly columns: ReadonlyMap<string, ColumnDefinition>;
}

/**
 * The roles of a stream type whose rows are told by the same key in the same streams in every mapping that
 * has them, with the columns that never changed. An event of just before a schema change may name the
 * mapping of after it, so a column that ever changed is of no use in any event.
 */
export function recordedRoles(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
): ReadonlyMap<string, RecordedRole> {
  const known = new Map<string, RoleDefinition[]>();
  for (const { streams } of mappings.values()) {
    const roles = Object.hasOwn(streams, streamType) ? streams[streamType]!.roles : {};
    for (const [name, role] of Object.entries(roles))
      known.set(name, [...(known.get(name) ?? []), role]);
  }
  const same = [...known].filter(([, roles]) => new Set(roles.map(identityOf)).size === 1);
  return new Map(same.map(([name, roles]) => [name, { ...roles[0]!, columns: sameIn(roles) }]));
}

function identityOf({ table, key, parent = {} }: RoleDefinition): string {
  const inOrder = Object.entries(parent).sort(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([table, key, inOrder]);
}

function sameIn(roles: readonly RoleDefinition[]): ReadonlyMap<string, ColumnDefinition> {
  const [first, ...others] = roles;
  const same = first!.columns.filter((column) =>
    others.every(({ columns }) => columns.some((other) => textOf(other) === textOf(column))),
  );
  return new Map(same.map((column) => [column.name, column]));
}

function textOf({ name, codec, type, number, formerly, filled, untold }: ColumnDefinition): string {
  return JSON.stringify([name, codec, type, number, formerly, filled, untold]);
}
