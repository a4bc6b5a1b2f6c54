import { page, section, tableRows } from "./markdown.ts";

/** What a page says of one JSON document. */
export interface Shape {
  /** By path, e.g. `findings[].code`: the types that a value may have. */
  readonly leaves: ReadonlyMap<string, ReadonlySet<string>>;
  /** Paths that may be absent. */
  readonly optional: ReadonlySet<string>;
}

/** The tables of sections of docs/cli-json.md, put together. */
export function documentedShape(...titles: readonly string[]): Shape {
  const rows = titles.flatMap((title) => tableRows(section(page("docs/cli-json.md"), title).body));
  const leaves = new Map<string, ReadonlySet<string>>();
  const optional = new Set<string>();
  for (const [field, type] of rows) {
    const path = field!.replaceAll("`", "");
    for (const { index } of path.matchAll(/\?/g)) {
      optional.add(path.slice(0, index).replaceAll("?", ""));
    }
    leaves.set(path.replaceAll("?", ""), new Set(type!.split(" or ")));
  }
  return { leaves, optional };
}

/**
 * What documents of one kind have in common, in the same form. Absent is what some document lacks
 * although the page knows it and its object is there.
 */
export function printedShape(documents: readonly unknown[], page: Shape): Shape {
  const leaves = new Map<string, Set<string>>();
  const optional = new Set<string>();
  const visit = (value: unknown, path: string): void => {
    const type = value === null ? "null" : typeof value;
    if (Array.isArray(value)) {
      for (const item of value) visit(item, `${path}[]`);
    } else if (type === "object" && page.leaves.get(path)?.has("object") !== true) {
      const known = childrenOf(page, path);
      const present = Object.entries(value as object);
      for (const [name, item] of present) visit(item, path === "" ? name : `${path}.${name}`);
      const names = new Set(present.map(([name]) => name));
      for (const name of known) {
        if (!names.has(name)) optional.add(path === "" ? name : `${path}.${name}`);
      }
    } else {
      leaves.set(path, (leaves.get(path) ?? new Set()).add(type));
    }
  };
  for (const document of documents) visit(document, "");
  return { leaves, optional };
}

/** Names that the page knows in the object at a path. */
function childrenOf({ leaves }: Shape, path: string): ReadonlySet<string> {
  const prefix = path === "" ? "" : `${path}.`;
  const below = [...leaves.keys()].filter((leaf) => leaf.startsWith(prefix));
  return new Set(below.map((leaf) => /^[^.[]+/.exec(leaf.slice(prefix.length))![0]));
}

/** Plain data, sorted, for a comparison that shows what differs. */
export function listed({ leaves, optional }: Shape): unknown {
  const types = [...leaves].map(([path, set]) => `${path}: ${[...set].sort().join(" or ")}`);
  return { leaves: types.sort(), optional: [...optional].sort() };
}
