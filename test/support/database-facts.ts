import { parseQualifiedName } from "../../src/model/table.ts";
import type {
  ColumnFacts,
  DatabaseFacts,
  ForeignKey,
  TableFacts,
} from "../../src/source/database-facts.ts";

/** What a test says of a table; the rest is that of an ordinary one of a thousand rows. */
export interface TableSketch extends Partial<Omit<TableFacts, "table" | "columns" | "primaryKey">> {
  /** Name to type, with `?` behind the type for a nullable column, or more facts. */
  readonly columns: Readonly<
    Record<string, string | (Partial<ColumnFacts> & { readonly type: string })>
  >;
  /** The first column when absent. */
  readonly key?: readonly string[];
  readonly replicaIdentity?: TableFacts["table"]["replicaIdentity"];
}

/** `orders: "lines.order_id cascade"` in a test: child.columns → parent, with its action. */
export interface ReferenceSketch extends Partial<ForeignKey> {
  readonly table: string;
  readonly columns: readonly string[];
  readonly references: string;
}

const ROWS = 1_000;
export const DAY = 86_400;

export function databaseFacts(
  tables: Readonly<Record<string, TableSketch>>,
  references: readonly ReferenceSketch[] = [],
  facts: Partial<Omit<DatabaseFacts, "tables" | "foreignKeys">> = {},
): DatabaseFacts {
  const all = Object.entries(tables).map(([name, sketch]) => tableFacts(name, sketch));
  return {
    database: "legacy",
    server: "PostgreSQL 18.4",
    role: "assessor",
    schemas: ["public"],
    countedSeconds: 30 * DAY,
    findings: [],
    ...facts,
    tables: all.toSorted((a, b) => (a.table.name < b.table.name ? -1 : 1)),
    foreignKeys: references.map((reference): ForeignKey => {
      const parent = all.find(({ table }) => table.name === qualified(reference.references));
      return {
        name: `${reference.table}_fkey`,
        referencedColumns: parent?.primaryKey ?? ["id"],
        onDelete: "no action",
        onUpdate: "no action",
        ...reference,
        table: qualified(reference.table),
        references: qualified(reference.references),
      };
    }),
  };
}

export function tableFacts(name: string, sketch: TableSketch): TableFacts {
  const { columns: given, key, replicaIdentity = "default", ...more } = sketch;
  const { schema, relation } = parseQualifiedName(name);
  const columns = Object.entries(given).map(([column, of]): ColumnFacts => {
    const { type, ...known } = typeof of === "string" ? { type: of } : of;
    return {
      name: column,
      type: type.replace("?", ""),
      nullable: type.endsWith("?"),
      comment: undefined,
      allowed: undefined,
      default: undefined,
      distinct: undefined,
      common: [],
      nullShare: 0,
      averageBytes: 8,
      mayBeOutOfLine: false,
      ...known,
    };
  });
  const primaryKey = key ?? columns.slice(0, 1).map((column) => column.name);
  return {
    table: {
      name: qualified(name),
      schema,
      relation,
      columns: columns.map((column) => ({
        name: column.name,
        type: column.type,
        codec: "text",
        nullable: column.nullable,
      })),
      key: primaryKey.map((column) => columns.findIndex((c) => c.name === column)),
      replicaIdentity,
    },
    kind: "table",
    inherits: [],
    partitions: [],
    comment: undefined,
    readable: true,
    rows: ROWS,
    bytes: ROWS * 100,
    indexBytes: ROWS * 20,
    outOfLineBytes: 0,
    bytesAreOld: false,
    changes: { inserted: 300, updated: 600, deleted: 0 },
    uniqueKeys: [],
    uniqueRules: [],
    triggers: [],
    rowSecurity: false,
    rowsHidden: false,
    generatedLeftOut: [],
    identityMend: undefined,
    keyMend: undefined,
    loggedMend: undefined,
    ...more,
    columns,
    primaryKey,
  };
}

function qualified(name: string): string {
  return name.includes(".") ? name : `public.${name}`;
}
