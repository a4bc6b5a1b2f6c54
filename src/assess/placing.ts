import { unlike } from "../mapping/check-table.ts";
import type { Choice } from "./choose-owners.ts";
import { keyOf } from "./row-key.ts";
import type { Reference } from "./references.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** Where a table stands: in the stream of which root, and how its rows name that. */
export interface Place {
  readonly root: string;
  readonly parent: Readonly<Record<string, string>>;
  readonly through: string | undefined;
  readonly reasons: readonly string[];
}

/** Finds each table's root, from the owners up. */
export class Placing {
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
    const direct =
      through === undefined
        ? []
        : this.#references.filter((r) => r.table === name && r.references === above.root);
    const links = [link, ...direct.map((r) => linkTo(r, (column) => column))].filter((one) =>
      covers(one, rootKey),
    );
    const fitting = links.find((one) => this.#unlike(name, above.root, one) === undefined);
    if (fitting !== undefined) return { root: above.root, parent: fitting, through, reasons };
    const key = rootKey.join(", ");
    const why =
      links[0] !== undefined
        ? `a part of ${owner}, but ${this.#unlike(name, above.root, links[0])}`
        : rootKey.length === 0
          ? `a part of ${owner}, which has no key to hold it by`
          : through === undefined
            ? `a part of ${owner}, but refers to it by (${reference.referencedColumns.join(", ")}) and not by its key (${key})`
            : `a part of ${through}, three levels deep, but without the key (${key}) of ${above.root} in its rows: a stream of its own`;
    return this.#root(name, [`${why} (${reasons.join(", ")})`]);
  }

  /** Why the child's rows cannot be found by a link: the stream's id is the text of the key. */
  #unlike(child: string, root: string, link: Readonly<Record<string, string>>): string | undefined {
    const typeOf = (table: string, column: string): string =>
      this.#tables.get(table)!.columns.find(({ name }) => name === column)?.type ?? "";
    for (const [own, key] of Object.entries(link)) {
      const why = unlike(typeOf(child, own), typeOf(root, key));
      if (why !== undefined) return `it cannot be found by ${own}: ${why}`;
    }
    return undefined;
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
