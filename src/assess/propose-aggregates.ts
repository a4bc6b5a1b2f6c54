import { childName, streamNames } from "./aggregate-names.ts";
import { columnRoles } from "./column-roles.ts";
import { chooseOwners } from "./choose-owners.ts";
import { Placing } from "./placing.ts";
import { circlesOf } from "./reference-circles.ts";
import { referencesOf, referringColumns, type Reference } from "./references.ts";
import { keyOf } from "./row-key.ts";
import type { DatabaseFacts, TableFacts } from "../source/database-facts.ts";

/** One stream of a mapping, as far as the catalogue suggests it. */
export interface AggregateProposal {
  /** Name of the stream: a letter, then letters, digits and underscores; unique among the proposals. */
  readonly name: string;
  readonly root: string;
  /** What tells one aggregate from another: the root's primary key, else a unique one; empty when it has none. */
  readonly key: readonly string[];
  /** True when a config must name that key, because it is not the primary one. */
  readonly keyMustBeNamed: boolean;
  readonly children: readonly ChildProposal[];
  /** Column of the root that says when it was changed. */
  readonly validTime: string | undefined;
  /** Why this is an aggregate of its own. */
  readonly reasons: readonly string[];
  /** References from its tables to those of others, which stay ids in the events. */
  readonly leaving: readonly Reference[];
}

export interface ChildProposal {
  /** Name of the child in its stream, not that of a column of the root or of another child. */
  readonly role: string;
  readonly table: string;
  /** The child's column → the root's key column that it holds. All of the root's key. */
  readonly parent: Readonly<Record<string, string>>;
  readonly key: readonly string[];
  readonly keyMustBeNamed: boolean;
  readonly validTime: string | undefined;
  /** The table it refers to, when that is not the root: it is a part of a part. */
  readonly through: string | undefined;
  readonly reasons: readonly string[];
}

export interface AggregateProposals {
  /** Every table surveyed is the root or a child of exactly one, ordered by the root's name. */
  readonly aggregates: readonly AggregateProposal[];
  readonly references: readonly Reference[];
  /** Streams whose rows refer to each other in a circle, by their names. */
  readonly circles: readonly (readonly string[])[];
}

export interface ProposeOptions {
  /**
   * Table → the table that owns it, as a person decided. Settles a table that two would own; a table
   * named as its own owner is a root.
   */
  readonly owners?: ReadonlyMap<string, string> | undefined;
}

/**
 * Groups tables into aggregates: a table whose rows live and die with the row of another is its child.
 *
 * What a mapping can hold decides in the end: a child must carry the whole key of its root. A part of a
 * part that does not is proposed as a stream of its own, with the reason said.
 */
export function proposeAggregates(
  facts: DatabaseFacts,
  options: ProposeOptions = {},
): AggregateProposals {
  const references = referencesOf(facts);
  const tables = new Map(facts.tables.map((table) => [table.table.name, table]));
  const owners = chooseOwners(facts.tables, tables, references, options.owners);
  const placing = new Placing(tables, references, owners);
  const places = new Map(facts.tables.map(({ table }) => [table.name, placing.place(table.name)]));
  const roots = facts.tables.filter(({ table }) => places.get(table.name)!.root === table.name);
  const names = streamNames(roots);
  const aggregates = roots.map((root): AggregateProposal => {
    const name = names.get(root.table.name)!;
    const members = facts.tables.filter(
      ({ table }) =>
        places.get(table.name)!.root === root.table.name && table.name !== root.table.name,
    );
    const inside = new Set([root, ...members].map(({ table }) => table.name));
    const taken = new Set<string>();
    return {
      name,
      root: root.table.name,
      key: keyOf(root),
      keyMustBeNamed: root.primaryKey.length === 0,
      children: members.map((child) => {
        const { parent, through, reasons } = places.get(child.table.name)!;
        return {
          role: childName(child, root, name, taken),
          table: child.table.name,
          parent,
          key: keyOf(child),
          keyMustBeNamed: child.primaryKey.length === 0,
          validTime: validTimeOf(child, references, true),
          through,
          reasons,
        };
      }),
      validTime: validTimeOf(root, references, false),
      reasons: places.get(root.table.name)!.reasons,
      leaving: references.filter(
        (reference) => inside.has(reference.table) && !inside.has(reference.references),
      ),
    };
  });
  return { aggregates, references, circles: streamCircles(aggregates) };
}

/** Of a child also the time of an insertion, where it has no other: its rows may never change. */
function validTimeOf(
  table: TableFacts,
  references: readonly Reference[],
  orMade: boolean,
): string | undefined {
  const readings = columnRoles(table, referringColumns(table.table.name, references));
  const filled = readings.filter(
    ({ column }) => table.columns.find(({ name }) => name === column)?.nullable === false,
  );
  const changed =
    filled.find(({ role }) => role === "changed-at") ??
    readings.find(({ role }) => role === "changed-at");
  if (changed !== undefined || !orMade) return changed?.column;
  const made = filled.filter(({ role }) => role === "created-at" || role === "happened-at");
  return made.length === 1 ? made[0]!.column : undefined;
}

function streamCircles(aggregates: readonly AggregateProposal[]): readonly (readonly string[])[] {
  const streamOf = new Map(
    aggregates.flatMap(({ name, root, children }) => [
      [root, name] as const,
      ...children.map(({ table }) => [table, name] as const),
    ]),
  );
  const byName = new Map(aggregates.map((aggregate) => [aggregate.name, aggregate]));
  return circlesOf([...byName.keys()], (name) =>
    byName.get(name)!.leaving.flatMap(({ references }) => streamOf.get(references) ?? []),
  );
}
