import fc from "fast-check";
import { databaseFacts, type ReferenceSketch, type TableSketch } from "./database-facts.ts";
import { qualifiedName, type CodecName } from "../../src/model/table.ts";
import type { DatabaseFacts, LogSample } from "../../src/source/database-facts.ts";

/*
 * Databases that nobody would make on purpose: names that are words of the language, that differ by
 * case or by an underscore, that no identifier can hold; values and comments that try to be code.
 */

const SCHEMAS = ["public", "public", "Sales", "sales", "a.b", "склад"];
// prettier-ignore
const RELATIONS = [
  "orders", "Orders", "order", "order_lines", "OrderLines", "orderline", "order_line_taxes", "customers", "users", "user_roles",
  "stream", "table", "child", "default", "class", "changes", "env", "process", "2fa", "__proto__", "constructor", "x", "größe",
  "заказы", "注文", "a.b", "order lines", "countries", "history", "order_history", "😀", "'; drop", "line\nbreak", "lead", "_",
];
// prettier-ignore
const COLUMNS = [
  "id", "order_id", "customer_id", "user_id", "parent_id", "no", "status", "state", "payment_status", "Status", "total", "price", "email",
  "password", "updated_at", "updated_by", "created_at", "placed_at", "paid_at", "cancel_reason", "deleted_at", "is_deleted", "is_active", "active",
  "type", "name", "day", "version", "10", "constructor", "toString", "with", "Mixed Case", "a.b", "статус", "it's", "$odd", "__proto__",
  "lines", "order", "line\u2028break", "*/", "`${x}`",
];
const TYPES: readonly (readonly [string, CodecName])[] = [
  ["int8", "text"],
  ["int4", "int"],
  ["int2", "int"],
  ["text", "text"],
  ["varchar(20)", "text"],
  ["bpchar(3)", "text"],
  ["numeric(12,2)", "text"],
  ["float8", "text"],
  ["timestamptz", "timestamptz"],
  ["timestamp", "timestamp"],
  ["date", "text"],
  ["bool", "bool"],
  ["jsonb", "text"],
  ["bytea", "bytea"],
  ["money", "text"],
  ["public.order_status", "text"],
  ["Sales.order_status", "text"],
  ["public.citext", "text"],
  ["text[]", "text"],
];
// prettier-ignore
const VALUES = [
  "new", "paid", "PAID", "shipped", "order_shipped", "in_transit", "a", "A", "1", "2", "-3", "", " ", "cancelled", "amended", "baselined", "created",
  "deleted", "constructor", "__proto__", "новый", "it's", 'a"b', "a\\", "line\nbreak", "\u2028", "*/", "`${x}`", "true", "NULL", "a → b", "x".repeat(120),
];

const text = fc.constantFrom(
  "plain",
  "*/ nope(); /*",
  "one\ntwo",
  "three\u2028four",
  "// five",
  "`${six}`",
);

const column = fc.record({
  type: fc.constantFrom(...TYPES),
  nullable: fc.boolean(),
  distinct: fc.option(fc.integer({ min: 0, max: 60 }), { nil: undefined }),
  allowed: fc.option(fc.subarray(VALUES), { nil: undefined }),
  common: fc
    .subarray(VALUES, { maxLength: 6 })
    .map((values) => values.map((value) => ({ value, share: 0.1 }))),
  default: fc.option(
    fc.oneof(
      fc.constantFrom(...VALUES).map((value) => `'${value.replaceAll("'", "''")}'::text`),
      fc.constantFrom("0", "true", "now()", "identity"),
    ),
    { nil: undefined },
  ),
  comment: fc.option(text, { nil: undefined }),
});

const table = fc
  .record({
    columns: fc
      .uniqueArray(fc.constantFrom(...COLUMNS), { minLength: 1, maxLength: 9 })
      .chain((names) => fc.tuple(...names.map((name) => fc.tuple(fc.constant(name), column)))),
    keyColumns: fc.constantFrom(1, 1, 1, 2, 3, 0),
    unique: fc.boolean(),
    kind: fc.constantFrom("table", "table", "table", "table", "partitioned", "unlogged", "foreign"),
    rows: fc.constantFrom(undefined, 0, 5, 2_000),
    comment: fc.option(text, { nil: undefined }),
    generatedLeftOut: fc.subarray(["generated", "*/"]),
    identity: fc.constantFrom("default", "default", "full", "nothing"),
  })
  .map(({ columns, keyColumns, unique, identity, ...rest }): TableSketch => {
    const key = columns.slice(0, keyColumns).map(([name]) => name);
    const usable = (key.length > 0 || unique) && identity !== "nothing";
    return {
      ...rest,
      columns: Object.fromEntries(
        columns.map(([name, { type, ...facts }]) => [name, { ...facts, type: type[0] }]),
      ),
      key,
      replicaIdentity: identity,
      keyMend: "ALTER TABLE … ADD …;",
      uniqueKeys: unique ? [[columns.at(-1)![0]]] : [],
      identityMend: usable || rest.kind === "foreign" ? undefined : "ALTER TABLE …;",
    } as TableSketch;
  });

export const randomFacts: fc.Arbitrary<DatabaseFacts> = fc
  .record({
    names: fc.uniqueArray(
      fc
        .tuple(fc.constantFrom(...SCHEMAS), fc.constantFrom(...RELATIONS))
        .map(([schema, relation]) => qualifiedName(schema, relation)),
      { minLength: 1, maxLength: 9 },
    ),
    tables: fc.array(table, { minLength: 9, maxLength: 9 }),
    references: fc.array(
      fc.record({
        from: fc.nat(8),
        to: fc.nat(9),
        onDelete: fc.constantFrom("cascade", "cascade", "no action"),
        shift: fc.nat(3),
      }),
      { maxLength: 12 },
    ),
    database: fc.constantFrom("shop", "Shop-2", "1st", "склад", "x".repeat(60), "a b"),
  })
  .map(({ names, tables, references, database }) => {
    const sketches = names.map((name, i) => [name, tables[i]!] as const);
    const keys = references.flatMap(({ from, to, onDelete, shift }): ReferenceSketch[] => {
      const [own, sketch] = sketches[from] ?? [];
      if (own === undefined || sketch === undefined) return [];
      const target = sketches[to];
      const referencedColumns =
        target === undefined ? ["id"] : target[1].key!.length > 0 ? target[1].key! : undefined;
      const columns = Object.keys(sketch.columns);
      if (referencedColumns === undefined || columns.length < referencedColumns.length) return [];
      const turned = [...columns.slice(shift % columns.length), ...columns];
      return [
        {
          table: own,
          columns: turned.slice(0, referencedColumns.length),
          references: target?.[0] ?? "elsewhere.things",
          referencedColumns,
          onDelete,
        },
      ];
    });
    return withCodecs(databaseFacts(Object.fromEntries(sketches), keys, { database }));
  });

/** What the log may have shown of it. */
export function randomSample(facts: DatabaseFacts): fc.Arbitrary<LogSample> {
  const value = fc.constantFrom(...VALUES, "NULL");
  const step = fc.tuple(value, value, fc.integer({ min: 1, max: 9 }));
  const names = facts.tables.flatMap(({ table: { name, columns } }) =>
    columns.map((one) => [name, one.name] as const),
  );
  return fc
    .array(fc.tuple(fc.constantFrom(...names), fc.array(step, { maxLength: 5 })), { maxLength: 6 })
    .map((seen) => ({
      seconds: 60,
      transactions: 10,
      bytes: 1_000,
      tables: new Map(
        seen.map(([[name, column], steps]) => [
          name,
          {
            inserted: 1,
            updated: steps.length,
            deleted: 0,
            truncated: 0,
            bytes: 100,
            changedTogether: new Map([[`${column}, ${names.find(([t]) => t === name)![1]}`, 4]]),
            transitions: new Map([
              [column, new Map(steps.map(([from, to, times]) => [`${from} → ${to}`, times]))],
            ]),
          },
        ]),
      ),
    }));
}

function withCodecs(facts: DatabaseFacts): DatabaseFacts {
  const codecs = new Map(TYPES);
  return {
    ...facts,
    tables: facts.tables.map((one) => ({
      ...one,
      table: {
        ...one.table,
        columns: one.table.columns.map((each) => ({
          ...each,
          codec: codecs.get(each.type) ?? "text",
        })),
      },
    })),
  };
}
