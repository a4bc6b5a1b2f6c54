import { childName, streamNames } from "./aggregate-names.ts";
import { columnRoles } from "./column-roles.ts";
import { OWNED_POINTS_MIN, OWNER_LEAD_MIN, weighOwnership, type Ownership } from "./ownership.ts";
import { circlesOf } from "./reference-circles.ts";
import { anyTableReference, referencesOf, referringColumns, type Reference } from "./references.ts";
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
  readonly owners?: ReadonlyMap<string, string>;
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
  const owners = breakCircles(chooseOwners(facts.tables, tables, references, options));
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

/** What identifies a row: the primary key, else the first unique one. */
function keyOf({ primaryKey, uniqueKeys }: TableFacts): readonly string[] {
  return primaryKey.length > 0 ? primaryKey : (uniqueKeys[0] ?? []);
}

interface Choice {
  readonly owner: Ownership | undefined;
  readonly reasons: readonly string[];
}

function chooseOwners(
  all: readonly TableFacts[],
  tables: ReadonlyMap<string, TableFacts>,
  references: readonly Reference[],
  { owners }: ProposeOptions,
): ReadonlyMap<string, Choice> {
  const referredBy = new Map<string, Set<string>>();
  for (const { table, references: target } of references) {
    if (table !== target) referredBy.set(target, (referredBy.get(target) ?? new Set()).add(table));
  }
  const outgoing = new Map<string, Reference[]>();
  for (const reference of references) {
    const known = outgoing.get(reference.table);
    if (known === undefined) outgoing.set(reference.table, [reference]);
    else known.push(reference);
  }
  return new Map(
    all.map((child) => {
      const { name } = child.table;
      const weighed = (outgoing.get(name) ?? []).flatMap((reference) => {
        const parent = tables.get(reference.references);
        if (parent === undefined || parent === child) return [];
        return [weighOwnership(child, parent, reference, referredBy.get(name)?.size ?? 0)];
      });
      const choice = chooseOwner(child, weighed, owners?.get(name));
      return [name, withRemarks(choice, child, references, referredBy.get(name)?.size ?? 0)];
    }),
  );
}

function chooseOwner(
  child: TableFacts,
  weighed: readonly Ownership[],
  decided: string | undefined,
): Choice {
  if (decided === child.table.name) return { owner: undefined, reasons: ["named as a root"] };
  if (decided !== undefined) {
    const owner = weighed.find(({ reference }) => reference.references === decided);
    return owner === undefined
      ? { owner, reasons: [`it does not refer to ${decided}, which is named as its owner`] }
      : { owner, reasons: [`${decided} is named as its owner`] };
  }
  const [best, next] = weighed
    .filter(
      ({ points, reference }) => points >= OWNED_POINTS_MIN || reference.onDelete === "cascade",
    )
    .toSorted((a, b) => b.points - a.points);
  if (best === undefined) return { owner: undefined, reasons: [] };
  const owner = best.reference.references;
  if (next !== undefined && next.reference.references !== owner) {
    if (best.points - next.points < OWNER_LEAD_MIN) {
      const both = `${owner} and ${next.reference.references}`;
      return {
        owner: undefined,
        reasons: [`shared by ${both}, and a table has one owner: name it, or leave it on its own`],
      };
    }
  }
  if (best.points < OWNED_POINTS_MIN)
    return { owner: undefined, reasons: [`not a part of ${owner}: ${best.reasons.join(", ")}`] };
  if (keyOf(child).length === 0)
    return {
      owner: undefined,
      reasons: [`a part of ${owner}, but without a key its rows cannot be told apart in it`],
    };
  return { owner: best, reasons: best.reasons };
}

function withRemarks(
  { owner, reasons }: Choice,
  child: TableFacts,
  references: readonly Reference[],
  referredBy: number,
): Choice {
  const remarks = [...reasons];
  const { name } = child.table;
  const self = references.find((r) => r.table === name && r.references === name);
  if (self !== undefined)
    remarks.push(
      `a tree through ${self.columns.join(", ")}: each row is told on its own, not the tree`,
    );
  const any = anyTableReference(child);
  if (any !== undefined) remarks.push(`belongs to rows of any table, by ${any}`);
  if (owner === undefined && referredBy > 0)
    remarks.push(`${referredBy} other ${referredBy === 1 ? "table refers" : "tables refer"} to it`);
  if (owner === undefined && remarks.length === 0)
    remarks.push("it refers to nothing that owns it");
  return { owner, reasons: remarks };
}

/** Where tables own each other in a circle, the weakest link goes. */
function breakCircles(choices: ReadonlyMap<string, Choice>): ReadonlyMap<string, Choice> {
  const broken = new Map(choices);
  const ownerOf = (name: string): string[] => {
    const owner = broken.get(name)?.owner?.reference.references;
    return owner === undefined ? [] : [owner];
  };
  for (const circle of circlesOf([...choices.keys()], ownerOf)) {
    const weakest = circle.reduce((a, b) =>
      broken.get(b)!.owner!.points < broken.get(a)!.owner!.points ? b : a,
    );
    const owner = broken.get(weakest)!.owner!.reference.references;
    broken.set(weakest, {
      owner: undefined,
      reasons: [`${owner} and it own each other in a circle: taken as the root`],
    });
  }
  return broken;
}

interface Place {
  readonly root: string;
  readonly parent: Readonly<Record<string, string>>;
  readonly through: string | undefined;
  readonly reasons: readonly string[];
}

/** Finds each table's root, from the owners up. */
class Placing {
  readonly #tables: ReadonlyMap<string, TableFacts>;
  readonly #references: readonly Reference[];
  readonly #choices: ReadonlyMap<string, Choice>;
  readonly #places = new Map<string, Place>();

  constructor(
    tables: ReadonlyMap<string, TableFacts>,
    references: readonly Reference[],
    choices: ReadonlyMap<string, Choice>,
  ) {
    this.#tables = tables;
    this.#references = references;
    this.#choices = choices;
  }

  place(name: string): Place {
    const known = this.#places.get(name);
    if (known !== undefined) return known;
    const { owner, reasons } = this.#choices.get(name)!;
    const place =
      owner === undefined
        ? this.#root(name, reasons)
        : this.#placeUnder(name, owner.reference, reasons);
    this.#places.set(name, place);
    return place;
  }

  #placeUnder(name: string, reference: Reference, reasons: readonly string[]): Place {
    const owner = reference.references;
    const above = this.place(owner);
    const rootKey = keyOf(this.#tables.get(above.root)!);
    const link =
      above.root === owner
        ? linkTo(reference, (column) => (rootKey.includes(column) ? column : undefined))
        : linkTo(reference, (column) => above.parent[column]);
    const through = above.root === owner ? undefined : owner;
    if (covers(link, rootKey)) return { root: above.root, parent: link, through, reasons };
    const direct = this.#references.find((r) => r.table === name && r.references === above.root);
    const directLink =
      direct === undefined || through === undefined
        ? {}
        : linkTo(direct, (column) => (rootKey.includes(column) ? column : undefined));
    if (covers(directLink, rootKey))
      return { root: above.root, parent: directLink, through, reasons };
    const key = rootKey.join(", ");
    const why =
      rootKey.length === 0
        ? `a part of ${owner}, which has no key to hold it by`
        : through === undefined
          ? `a part of ${owner}, but refers to it by (${reference.referencedColumns.join(", ")}) and not by its key (${key})`
          : `a part of ${through}, three levels deep, but without the key (${key}) of ${above.root} in its rows: a stream of its own`;
    return this.#root(name, [why, ...reasons]);
  }

  #root(name: string, reasons: readonly string[]): Place {
    return { root: name, parent: {}, through: undefined, reasons };
  }
}

/** The child's columns by the root's key columns that they hold. */
function linkTo(
  { columns, referencedColumns }: Reference,
  rootColumn: (referenced: string) => string | undefined,
): Readonly<Record<string, string>> {
  return Object.fromEntries(
    columns.flatMap((column, index) => {
      const root = rootColumn(referencedColumns[index]!);
      return root === undefined ? [] : [[column, root]];
    }),
  );
}

function covers(link: Readonly<Record<string, string>>, key: readonly string[]): boolean {
  const held = Object.values(link);
  return key.length > 0 && held.length === key.length && key.every((name) => held.includes(name));
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
