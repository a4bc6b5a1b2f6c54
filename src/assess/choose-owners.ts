import { OWNED_POINTS_MIN, OWNER_LEAD_MIN, weighOwnership, type Ownership } from "./ownership.ts";
import { circlesOf } from "./reference-circles.ts";
import { anyTableReference, type Reference } from "./references.ts";
import { keyOf } from "./row-key.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** The owner of a table, if it has one, and why or why not. */
export interface Choice {
  readonly owner: Ownership | undefined;
  readonly reasons: readonly string[];
}

/** @param owners table → owner, as a person decided */
export function chooseOwners(
  all: readonly TableFacts[],
  tables: ReadonlyMap<string, TableFacts>,
  references: readonly Reference[],
  owners: ReadonlyMap<string, string> | undefined,
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
  const choices = new Map(
    all.map((child): [string, Choice] => {
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
  return breakCircles(choices);
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
  const candidates = weighed
    .filter(
      ({ points, reference }) => points >= OWNED_POINTS_MIN || reference.onDelete === "cascade",
    )
    .toSorted((a, b) => b.points - a.points);
  const [best, next] = candidates;
  if (best === undefined) return { owner: undefined, reasons: [] };
  const owner = best.reference.references;
  if (next !== undefined && best.points - next.points < OWNER_LEAD_MIN)
    return { owner: undefined, reasons: [undecided(best.reference, next.reference)] };
  if (best.points < OWNED_POINTS_MIN)
    return { owner: undefined, reasons: [`not a part of ${owner}: ${best.reasons.join(", ")}`] };
  if (keyOf(child).length === 0)
    return {
      owner: undefined,
      reasons: [`a part of ${owner}, but without a key its rows cannot be told apart in it`],
    };
  return { owner: best, reasons: best.reasons };
}

function undecided(a: Reference, b: Reference): string {
  return a.references === b.references
    ? `refers to ${a.references} by ${a.columns.join(", ")} and by ${b.columns.join(", ")}: which of the two owns it, a person must say`
    : `shared by ${a.references} and ${b.references}, and a table has one owner: name it, or leave it on its own`;
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
