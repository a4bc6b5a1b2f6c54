import type { ColumnDefinition } from "../model/column-definition.ts";
import type { MappingDefinition, RoleDefinition } from "../model/mapping-definition.ts";
import type { SourceColumn, SourceTable } from "../model/table.ts";

/** Types whose values keep their text when one becomes another. */
const SAME_TEXT: readonly RegExp[] = [/^int[248]$/, /^(varchar(\(\d+\))?|text)$/];

/**
 * Follows the columns of one table through schema changes, which the log does not tell: a column that
 * was renamed still has its old rows' values, and one that was added may have given all of them one.
 *
 * Names that are gone are kept, because the log may lie behind the catalogue and still use them.
 */
export class ColumnHistory {
  readonly #columns = new Map<string, ColumnDefinition>();

  /** @param recorded columns as the store's newest mapping has them; none before the first baseline */
  constructor(recorded: readonly ColumnDefinition[]) {
    for (const column of recorded) this.#columns.set(column.name, column);
  }

  /** Takes the table as the catalogue shows it now. */
  learn({ columns }: SourceTable): void {
    const known = [...this.#columns.values()];
    const names = new Set(columns.map(({ name }) => name));
    for (const column of columns) {
      const { name, type, codec, number } = column;
      const plain = { name, codec, type, ...(number === undefined ? {} : { number }) };
      const origin = known.length === 0 ? {} : originOf(column, known, names);
      this.#columns.set(name, { ...plain, ...origin });
    }
  }

  /** The columns of a shape that the log or the catalogue showed, in its order. */
  of({ columns }: SourceTable): readonly ColumnDefinition[] {
    return columns.map(({ name, type, codec }) => {
      const known = this.#columns.get(name);
      return known === undefined ? { name, codec, type } : { ...known, codec, type };
    });
  }
}

type Origin = Pick<ColumnDefinition, "formerly" | "filled" | "untold">;

function originOf(
  now: SourceColumn,
  known: readonly ColumnDefinition[],
  names: ReadonlySet<string>,
): Origin {
  const sameName = known.find(({ name }) => name === now.name);
  if (sameName !== undefined && isSameColumn(sameName, now)) return kept(sameName, now.type);
  const renamed = known.findLast(
    ({ name, number }) => number !== undefined && number === now.number && !names.has(name),
  );
  if (renamed !== undefined) {
    const origin = kept(renamed, now.type);
    return { ...origin, formerly: [renamed.name, ...(renamed.formerly ?? [])] };
  }
  const filled = now.filled === undefined ? {} : { filled: now.filled };
  if (sameName !== undefined) return { ...filled, untold: "replaced" };
  return now.computed === true ? { untold: "added" } : filled;
}

/** Without numbers a name is all there is to go by. */
function isSameColumn(known: ColumnDefinition, now: SourceColumn): boolean {
  return known.number === undefined || now.number === undefined || known.number === now.number;
}

function kept({ formerly, filled, untold, type }: ColumnDefinition, typeNow: string): Origin {
  const keepsText = type === typeNow || SAME_TEXT.some((t) => t.test(type) && t.test(typeNow));
  const why = keepsText ? untold : "retyped";
  return {
    ...(formerly === undefined ? {} : { formerly }),
    ...(filled === undefined ? {} : { filled }),
    ...(why === undefined ? {} : { untold: why }),
  };
}

/** A table's role in a stream type as the newest mapping has recorded it. */
export function recordedRole(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
  table: string,
): RoleDefinition | undefined {
  return newestOf(mappings, streamType, (roles) => tableIn(roles, table));
}

/** The same of a table that was renamed since, and is found by its role and its columns. */
export function renamedRole(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
  roleName: string,
  table: SourceTable,
): RoleDefinition | undefined {
  if (recordedRole(mappings, streamType, table.name) !== undefined) return undefined;
  const role = newestOf(mappings, streamType, (roles) => roleIn(roles, roleName));
  return isSameTable(role, table) ? role : undefined;
}

/**
 * Whether a table is one that was captured under another name: it has all of its columns, under their
 * numbers, which a table keeps for life. A copy made column by column cannot be told from it.
 */
export function isSameTable(
  before: RoleDefinition | undefined,
  now: SourceTable | undefined,
): boolean {
  if (before === undefined || now === undefined) return false;
  return now.columns.every(({ name, number }) =>
    before.columns.some(
      (column) => column.name === name && number !== undefined && column.number === number,
    ),
  );
}

/** Whether any mapping that has a table's role kept no images of its rows, whatever it was called there. */
export function hasUnimaged(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
  table: string,
  roleName: string,
): boolean {
  return [...mappings.values()].some((definition) => {
    const roles = rolesOf(definition, streamType);
    const role = tableIn(roles, table) ?? roleIn(roles, roleName);
    return role !== undefined && role.images !== true;
  });
}

type Roles = Readonly<Record<string, RoleDefinition>>;

function newestOf(
  mappings: ReadonlyMap<number, MappingDefinition>,
  streamType: string,
  find: (roles: Roles) => RoleDefinition | undefined,
): RoleDefinition | undefined {
  for (const [, definition] of [...mappings].sort(([a], [b]) => b - a)) {
    const role = find(rolesOf(definition, streamType));
    if (role !== undefined) return role;
  }
  return undefined;
}

function rolesOf({ streams }: MappingDefinition, streamType: string): Roles {
  return Object.hasOwn(streams, streamType) ? streams[streamType]!.roles : {};
}

function tableIn(roles: Roles, table: string): RoleDefinition | undefined {
  return Object.values(roles).find((candidate) => candidate.table === table);
}

function roleIn(roles: Roles, name: string): RoleDefinition | undefined {
  return Object.hasOwn(roles, name) ? roles[name] : undefined;
}
