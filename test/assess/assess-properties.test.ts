import fc from "fast-check";
import { expect, test } from "vitest";
import {
  databaseFacts,
  type ReferenceSketch,
  type TableSketch,
} from "../support/database-facts.ts";
import { budget } from "../support/random-budget.ts";
import { assess } from "../../src/assess/assess.ts";
import { VERDICTS, type Cost, type Sum } from "../../src/assess/assessment.ts";
import { proposeAggregates, type AggregateProposal } from "../../src/assess/propose-aggregates.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { child, stream, table, type StreamRef } from "../../src/mapping/rules.ts";
import { qualifiedName } from "../../src/model/table.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";

/** Words that mean something to the judgement, and some that do not. */
const NAMES =
  "orders order_lines OrderLine line_taxes customers Customer users history order_history log countries status tasks x 2fa select größe a.b".split(
    " ",
  );
const COLUMNS =
  "id order_id customer_id no status state total email updated_at created_at paid_at deleted_at is_active type name $odd lines day parent_id object_changes item_type item_id".split(
    " ",
  );
const TYPES = [
  "int8",
  "int4",
  "text",
  "numeric(12,2)",
  "timestamptz",
  "date",
  "bool",
  "jsonb",
  "uuid",
  "bytea",
  "money",
];

const columnArbitrary = fc.record({
  type: fc.constantFrom(...TYPES),
  nullable: fc.boolean(),
  distinct: fc.option(fc.integer({ min: 0, max: 5_000 }), { nil: undefined }),
  averageBytes: fc.option(fc.integer({ min: 1, max: 500 }), { nil: undefined }),
  allowed: fc.option(fc.subarray(["new", "paid", "a", "b", "1"]), { nil: undefined }),
});

const countArbitrary = fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 1_000_000 }));

const tableArbitrary = fc
  .record({
    columns: fc
      .uniqueArray(fc.constantFrom(...COLUMNS), { minLength: 1, maxLength: 6 })
      .chain((names) =>
        fc.tuple(...names.map((name) => fc.tuple(fc.constant(name), columnArbitrary))),
      ),
    keyColumns: fc.integer({ min: 0, max: 3 }),
    hasUnique: fc.boolean(),
    kind: fc.constantFrom("table", "table", "table", "partitioned", "unlogged", "foreign"),
    rows: fc.option(countArbitrary, { nil: undefined }),
    bytes: countArbitrary,
    changes: fc.option(
      fc.record({ inserted: countArbitrary, updated: countArbitrary, deleted: countArbitrary }),
      { nil: undefined },
    ),
    replicaIdentity: fc.constantFrom("default", "full", "nothing", "index"),
  })
  .map(({ columns, keyColumns, hasUnique, ...rest }): TableSketch => {
    const key = columns.slice(0, keyColumns).map(([name]) => name);
    const usable = key.length > 0 && rest.replicaIdentity !== "nothing";
    return {
      ...rest,
      columns: Object.fromEntries(columns),
      key,
      keyMend: "ALTER TABLE … ADD …;",
      uniqueKeys: hasUnique ? [[columns.at(-1)![0]]] : [],
      identityMend: usable || rest.kind === "foreign" ? undefined : "ALTER TABLE …;",
    } as TableSketch;
  });

const factsArbitrary: fc.Arbitrary<DatabaseFacts> = fc
  .record({
    names: fc.uniqueArray(
      fc
        .tuple(fc.constantFrom("public", "Sales"), fc.constantFrom(...NAMES))
        .map(([schema, name]) => qualifiedName(schema, name)),
      { maxLength: 8 },
    ),
    tables: fc.array(tableArbitrary, { minLength: 8, maxLength: 8 }),
    references: fc.array(
      fc.record({
        from: fc.nat(7),
        to: fc.nat(8),
        byKey: fc.boolean(),
        onDelete: fc.constantFrom("cascade", "cascade", "no action", "set null"),
        shift: fc.nat(3),
      }),
      { maxLength: 12 },
    ),
    countedSeconds: fc.option(fc.integer({ min: 1, max: 10_000_000 }), { nil: undefined }),
  })
  .map(({ names, tables, references, countedSeconds }) => {
    const sketches = names.map((name, index) => [name, tables[index]!] as const);
    const keys = references.flatMap(({ from, to, byKey, onDelete, shift }): ReferenceSketch[] => {
      const [own, sketch] = sketches[from] ?? [];
      if (own === undefined || sketch === undefined) return [];
      // Beyond the tables surveyed there are others, which only foreign keys name.
      const target = sketches[to];
      const referencedColumns =
        target === undefined
          ? ["id"]
          : byKey && target[1].key!.length > 0
            ? target[1].key!
            : [Object.keys(target[1].columns).at(-1)!];
      const columns = Object.keys(sketch.columns);
      if (columns.length < referencedColumns.length) return [];
      const own2 = [...columns.slice(shift % columns.length), ...columns].slice(
        0,
        referencedColumns.length,
      );
      return [
        {
          table: own,
          columns: own2,
          references: target?.[0] ?? "elsewhere.things",
          referencedColumns,
          onDelete: onDelete as "cascade",
        },
      ];
    });
    return databaseFacts(Object.fromEntries(sketches), keys, { countedSeconds });
  });

test("every table has exactly one verdict with a reason, and stands in exactly one aggregate", () => {
  fc.assert(
    fc.property(factsArbitrary, (facts) => {
      const { tables, aggregates, summary, first } = assess(facts);
      expect(tables.map(({ name }) => name)).toEqual(
        facts.tables.map(({ table: { name } }) => name),
      );
      const members = aggregates.flatMap(({ root, children }) => [
        root,
        ...children.map((c) => c.table),
      ]);
      expect(members.toSorted()).toEqual(tables.map(({ name }) => name).toSorted());
      for (const { verdict, reasons, aggregate } of [
        ...tables,
        ...aggregates.map((a) => ({ ...a, aggregate: a.name })),
      ]) {
        expect(VERDICTS).toContain(verdict);
        expect(reasons.length).toBeGreaterThan(0);
        expect(
          reasons.every((reason) => reason.length > 5 && !/undefined|NaN|\[object/.test(reason)),
        ).toBe(true);
        expect(aggregates.filter(({ name }) => name === aggregate)).toHaveLength(1);
      }
      expect(
        aggregates.filter(({ verdict }) => verdict === "migrate-first").map(({ name }) => name),
      ).toEqual(first === undefined ? [] : [first.aggregate]);
      expect(Object.values(summary.verdicts).reduce((sum, value) => sum + value, 0)).toBe(
        tables.length,
      );
      for (const blocked of tables.filter(({ verdict }) => verdict === "blocked")) {
        expect(blocked.blockers.length).toBeGreaterThan(0);
        expect(blocked.blockers.every(({ sql }) => sql !== undefined)).toBe(true);
      }
    }),
    budget(300),
  );
});

test("totals add up: tables to aggregates, aggregates to the whole", () => {
  fc.assert(
    fc.property(factsArbitrary, (facts) => {
      const { tables, aggregates, summary } = assess(facts);
      const byName = new Map(tables.map((one) => [one.name, one]));
      for (const { root, children, rows, bytes, cost, changesPerDay } of aggregates) {
        const all = [root, ...children.map((c) => c.table)].map((name) => byName.get(name)!);
        expect(rows).toEqual(sum(all.map((one) => one.rows)));
        expect(bytes).toBe(all.reduce((total, one) => total + one.bytes, 0));
        expect(cost.rows).toEqual(rows);
        expect(cost.baselineEvents).toEqual(sum([byName.get(root)!.rows]));
        const rates = all.flatMap(({ changes: c }) => [
          c.insertedPerDay,
          c.updatedPerDay,
          c.deletedPerDay,
        ]);
        expect(changesPerDay.value).toBeCloseTo(sum(rates).value, 3);
        expect(changesPerDay.atLeast).toBe(rates.includes(undefined));
        expect(cost.bytesPerDay.value).toBe(
          all.reduce((total, one) => total + (one.bytesPerDay?.value ?? 0), 0),
        );
      }
      expect(summary.rows).toEqual(sum(tables.map((one) => one.rows)));
      expect(summary.bytes).toBe(tables.reduce((total, one) => total + one.bytes, 0));
      const figures: (keyof Cost)[] = ["rows", "baselineEvents", "baselineBytes", "bytesPerDay"];
      for (const figure of figures) {
        const whole = aggregates.reduce((total, { cost }) => total + cost[figure].value, 0);
        expect(summary.migrating[figure].value + summary.leaving[figure].value).toBeCloseTo(
          whole,
          3,
        );
      }
    }),
    budget(200),
  );
});

test("what is proposed, a mapping can hold", () => {
  fc.assert(
    fc.property(factsArbitrary, (facts) => {
      const { aggregates } = proposeAggregates(facts);
      expect(new Set(aggregates.map(({ name }) => name)).size).toBe(aggregates.length);
      const named = new Map(facts.tables.map((one) => [one.table.name, one.table]));
      // Those a mapping refuses whatever is proposed: without any key, or with a column of its own words.
      const possible = aggregates.filter(
        ({ root, key, children }) =>
          key.length > 0 &&
          [root, ...children.map((c) => c.table)].every(
            (name) => !named.get(name)!.columns.some((column) => column.name.startsWith("$")),
          ),
      );
      const shapes = possible.flatMap(({ root, key, children }) => [
        shapeOf(named.get(root)!, key),
        ...children.map((c) => shapeOf(named.get(c.table)!, c.key)),
      ]);
      const streams = Object.fromEntries(possible.map((one) => [one.name, streamOf(one)]));
      // Throws with the list of everything that does not fit.
      expect(compileMapping(streams, shapes).tables).toHaveLength(shapes.length);
    }),
    budget(300),
  );
});

test("the same facts give the same judgement, in whatever order they come", () => {
  fc.assert(
    fc.property(factsArbitrary, (facts) => {
      const turned = { ...facts, foreignKeys: facts.foreignKeys.toReversed() };
      expect(names(assess(turned))).toEqual(names(assess(facts)));
    }),
    budget(50),
  );
});

function names({ tables }: ReturnType<typeof assess>): unknown {
  return tables.map(({ name, verdict, aggregate }) => [name, verdict, aggregate]);
}

function streamOf({
  name,
  root,
  key,
  keyMustBeNamed,
  children,
  validTime,
}: AggregateProposal): StreamRef {
  return stream(table<Record<string, string>>(root, keyMustBeNamed ? { key } : {}), {
    children: Object.fromEntries(
      children.map((one) => [
        one.role,
        child(
          table<Record<string, string>>(one.table, one.keyMustBeNamed ? { key: one.key } : {}),
          one.parent,
          one.validTime === undefined ? {} : { validTime: one.validTime },
        ),
      ]),
    ),
    ...(validTime === undefined ? {} : { validTime }),
    otherwise: `${name}Amended`,
  });
}

/** As the catalogue would give it for that config. */
function shapeOf<T extends DatabaseFacts["tables"][number]["table"]>(
  shape: T,
  key: readonly string[],
): T {
  return {
    ...shape,
    key: key.map((name) => shape.columns.findIndex((column) => column.name === name)),
  };
}

function sum(values: readonly (number | undefined)[]): Sum {
  return {
    value: values.reduce<number>((total, value) => total + (value ?? 0), 0),
    atLeast: values.includes(undefined),
  };
}
