import fc from "fast-check";
import { KINDS, type KindName } from "./random-values.ts";
import type { ReplicaIdentity, SourceTable } from "../../src/model/table.ts";

/** A table of a random schema: the root, or a child whose `parent` columns refer to the root's key. */
export interface RandomTable {
  readonly role: string;
  readonly shape: SourceTable;
  readonly kinds: readonly KindName[];
  /** Own column to the root's key column; undefined for the root. */
  readonly parent: Readonly<Record<string, string>> | undefined;
  /** Columns whose value the log leaves out when an update does not change it. */
  readonly large: readonly boolean[];
}

export interface RandomSchema {
  readonly streamType: string;
  /** The root first. */
  readonly tables: readonly RandomTable[];
}

/** Names that are easily mistaken for something else. */
// prettier-ignore
const COLUMN_NAMES = [
  "a", "b", "status", "order", "Mixed Case", "constructor", "toString", "valueOf", "with.dot", "10", "x y", "é😀", "hasOwnProperty", "data",
];
const ROLE_NAMES = ["lines", "notes", "the parts", "isPrototypeOf", "2"];

/** Names that a mapping may have to refuse, and names that only look so. */
// prettier-ignore
const AWKWARD_COLUMN_NAMES = [
  "$was", "$", "__proto__", "prototype", "lines", "thing", "constructor", "then", "toJSON", "length", "a", "b", "it's", "with", "where",
];
const AWKWARD_ROLE_NAMES = [
  "lines",
  "a",
  "thing",
  "__proto__",
  "$was",
  "",
  "constructor",
  "length",
];
const KEY_KINDS = ["int4", "int8", "text", "bool", "timestamp", "bytea", "numeric"] as const;
const ALL_KINDS = Object.keys(KINDS) as KindName[];

interface ColumnSpec {
  readonly kind: KindName;
  readonly nullable: boolean;
  readonly large: boolean;
}
interface ColumnDraft extends ColumnSpec {
  readonly name: string;
}

const columnSpec: fc.Arbitrary<ColumnSpec> = fc.record({
  kind: fc.constantFrom(...ALL_KINDS),
  nullable: fc.boolean(),
  large: fc.integer({ min: 0, max: 3 }).map((n) => n === 0),
});

const tableSpec = (names: readonly string[]) =>
  fc.record({
    identity: fc.constantFrom<ReplicaIdentity>("full", "default"),
    columns: fc.array(columnSpec, { maxLength: 4 }),
    names: fc.shuffledSubarray([...names], { minLength: 8 }),
  });

const childSpec = fc.record({
  /** Its key begins with the parent's, or is its own and the parent's columns are mere data. */
  keyedByParent: fc.boolean(),
  nullableLink: fc.boolean(),
  /** Whether the link's columns, and the config's, stand in another order than the root's key. */
  turned: fc.boolean(),
  /** Whether its own part of the key has a second column. */
  sub: fc.boolean(),
});

export interface SchemaOptions {
  readonly childrenMax?: number;
  /** Some names are such as a mapping refuses. */
  readonly awkward?: boolean;
}

export function randomSchema(options: SchemaOptions = {}): fc.Arbitrary<RandomSchema> {
  const { childrenMax = 3, awkward = false } = options;
  const table = tableSpec(awkward ? AWKWARD_COLUMN_NAMES : COLUMN_NAMES);
  const roleNames = awkward ? AWKWARD_ROLE_NAMES : ROLE_NAMES;
  return fc
    .record({
      root: table,
      key: fc.array(fc.constantFrom(...KEY_KINDS), { minLength: 1, maxLength: 3 }),
      children: fc.array(childSpec, { maxLength: childrenMax }),
      tables: fc.array(table, { minLength: 3, maxLength: 3 }),
      roles: fc.shuffledSubarray(roleNames, { minLength: 3 }),
    })
    .map(({ root, key, children, tables: specs, roles }) => {
      const keys = key.map((kind, i) => column(`k${i}`, kind));
      const tables = [
        build(
          "thing",
          root,
          keys,
          keys.map(({ name }) => name),
          undefined,
        ),
        ...children.map((child, i) => buildChild(roles[i]!, child, specs[i]!, keys)),
      ];
      return { streamType: "thing", tables };
    });
}

function column(name: string, kind: KindName, nullable = false): ColumnDraft {
  return { name, kind, nullable, large: false };
}

type TableSpec = ReturnType<typeof tableSpec> extends fc.Arbitrary<infer T> ? T : never;
type ChildSpec = typeof childSpec extends fc.Arbitrary<infer T> ? T : never;

function buildChild(
  role: string,
  spec: ChildSpec,
  table: TableSpec,
  rootKey: readonly ColumnDraft[],
): RandomTable {
  const nullable = spec.nullableLink && !spec.keyedByParent;
  const links = rootKey.map(({ name, kind }) => column(`of_${name}`, kind, nullable));
  const pairs = links.map(({ name }, i) => [name, rootKey[i]!.name] as const);
  const parent = Object.fromEntries(spec.turned ? pairs.toReversed() : pairs);
  const own = [column("no", spec.keyedByParent ? "int4" : "int8")];
  if (spec.sub) own.push(column("sub", "text"));
  const ordered = spec.turned ? links.toReversed() : links;
  const key = [...(spec.keyedByParent ? ordered : []), ...own].map(({ name }) => name);
  const leading = spec.turned ? [...own, ...ordered] : [...ordered, ...own];
  return build(role, table, leading, key, parent);
}

function build(
  role: string,
  spec: TableSpec,
  leading: readonly ColumnDraft[],
  key: readonly string[],
  parent: Readonly<Record<string, string>> | undefined,
): RandomTable {
  const rest = spec.columns.map((draft, i) => ({ ...draft, name: spec.names[i]! }));
  const columns = [...leading, ...rest];
  const relation = `${parent === undefined ? "root" : "child"}_${role.replaceAll(/\W/g, "_")}`;
  return {
    role,
    kinds: columns.map(({ kind }) => kind),
    large: columns.map(({ large }) => large),
    parent,
    shape: {
      name: `public.${relation}`,
      schema: "public",
      relation,
      columns: columns.map(({ name, kind, nullable }) => ({
        name,
        type: KINDS[kind].type,
        codec: KINDS[kind].codec,
        nullable,
      })),
      key: key.map((name) => columns.findIndex((each) => each.name === name)),
      replicaIdentity: spec.identity,
    },
  };
}
