import fc from "fast-check";
import type { RandomSchema, RandomTable } from "./random-schema.ts";
import { KINDS } from "./random-values.ts";
import {
  becomes,
  changes,
  child,
  is,
  stream,
  table,
  was,
  type ColumnCondition,
  type Rule,
  type StreamRef,
  type Transform,
} from "../../src/mapping/rules.ts";
import { CODECS } from "../../src/model/codec.ts";

type Row = Record<string, unknown>;
type Streams = Readonly<Record<string, StreamRef>>;

/** Taken by the rules in this order, the last ones seldom: those are refused. */
const AWKWARD_EVENT_NAMES = ["constructor", "$was", "it's 1", "length", "Amended", "", "__proto__"];

const conditionSpec = fc.record({
  column: fc.nat(20),
  kind: fc.constantFrom("becomes", "is", "was", "changes"),
  values: fc.array(fc.nat(20), { minLength: 1, maxLength: 3 }),
});

const ruleSpec = fc.record({
  on: fc.constantFrom("insert", "update", "update", "delete"),
  // The root more often than each child.
  table: fc.constantFrom(0, 0, 1, 2, 3),
  conditions: fc.array(conditionSpec, { maxLength: 2, size: "xsmall" }),
  anyOf: fc.array(fc.nat(20), { maxLength: 3 }),
  data: fc.array(fc.nat(20), { maxLength: 3 }),
  transform: fc.array(fc.nat(20), { maxLength: 2 }),
  where: fc.constantFrom("no", "no", "some"),
  with: fc.constantFrom(true, true, false),
});
type RuleSpec = typeof ruleSpec extends fc.Arbitrary<infer T> ? T : never;

/** Streams for a random schema, with rules of every kind. What no rule claims goes to the fallback. */
export function randomStreams(
  schema: RandomSchema,
  options: { readonly awkward?: boolean; readonly truncates?: boolean } = {},
): fc.Arbitrary<Streams> {
  const names = options.awkward === true ? AWKWARD_EVENT_NAMES : [];
  return fc
    .record({
      rules: fc.array(ruleSpec, { maxLength: 8 }),
      validTime: fc.boolean(),
    })
    .map(({ rules, validTime }) => {
      const [root, ...children] = schema.tables;
      const refs = new Map(schema.tables.map((each) => [each, refOf(each)]));
      const events = Object.fromEntries(
        rules.map((spec, i) => [names[i] ?? `Rule${i}`, ruleOf(spec, schema, refs)]),
      );
      const time = validTime ? timeColumn(root!) : undefined;
      return {
        [schema.streamType]: stream<Row>(refs.get(root!)!, {
          children: Object.fromEntries(
            children.map((each) => [each.role, child<Row>(refs.get(each)!, each.parent!)]),
          ),
          events,
          otherwise: "Amended",
          truncate: options.truncates === true ? "events" : "refuse",
          ...(time === undefined ? {} : { validTime: time }),
        }),
      };
    });
}

type Ref = ReturnType<typeof table<Row>>;

function refOf({ shape }: RandomTable): Ref {
  return table<Row>(shape.name);
}

function timeColumn({ shape }: RandomTable): string | undefined {
  return shape.columns.find(({ codec }) => codec.startsWith("timestamp"))?.name;
}

function ruleOf(spec: RuleSpec, schema: RandomSchema, refs: ReadonlyMap<RandomTable, Ref>): Rule {
  const { tables } = schema;
  const about = tables[spec.table % tables.length]!;
  const names = about.shape.columns.map(({ name }) => name);
  const pick = (numbers: readonly number[]): string[] =>
    numbers.map((n) => names[n % names.length]!);
  const updates = spec.on === "update";
  const conditions = Object.fromEntries(
    spec.conditions.map(({ column, kind, values }) => {
      const at = column % names.length;
      return [names[at]!, conditionOf(updates ? kind : "is", about, at, values)] as const;
    }),
  );
  const where = spec.where === "no" ? undefined : (now: Row) => isEven(now, names);
  const ref = refs.get(about)!;
  switch (spec.on) {
    case "insert": {
      const isRoot = about === tables[0];
      const taken = isRoot && spec.with ? tables.slice(1).map((each) => refs.get(each)!) : [];
      return { on: "insert", table: ref, conditions, where, with: taken };
    }
    case "delete":
      return { on: "delete", table: ref, conditions, where };
    default: {
      const transformed = [...new Set(pick(spec.transform))].filter(
        (name) => !about.shape.key.some((index) => names[index] === name),
      );
      // A rule must name a column, else it could never fire.
      const anyOf = Object.keys(conditions).length === 0 ? pick([0, ...spec.anyOf]) : [];
      return {
        on: "update",
        table: ref,
        conditions,
        anyOf,
        where,
        data: pick(spec.data),
        transform: transformed.length === 0 ? undefined : packed(transformed),
      };
    }
  }
}

function conditionOf(
  kind: RuleSpec["conditions"][number]["kind"],
  { kinds }: RandomTable,
  column: number,
  picks: readonly number[],
): ColumnCondition {
  const { pool, codec } = KINDS[kinds[column]!];
  const values = picks.map(
    (n): unknown => JSON.parse(CODECS[codec].toJson(pool[n % pool.length]!)) as unknown,
  );
  switch (kind) {
    case "becomes":
      return becomes(...values);
    case "is":
      return is(...values, null);
    case "was":
      return was(...values);
    case "changes":
      return changes();
  }
}

/** A predicate of a user: any pure function of the row will do. */
function isEven(row: Row, names: readonly string[]): boolean {
  return names.map((name) => JSON.stringify(row[name])).join("").length % 2 === 0;
}

/** A user's function with its inverse: the values under other names, one level down, back to front. */
function packed(columns: readonly string[]): Transform<never> {
  const transform: Transform<Row> = {
    columns,
    to: (now) => ({ packed: { values: columns.map((name) => now[name] ?? null).reverse() } }),
    from: (data) => {
      const { values } = (data["packed"] ?? {}) as { values: readonly unknown[] };
      return Object.fromEntries(columns.map((name, i) => [name, values.toReversed()[i]]));
    },
  };
  return transform as unknown as Transform<never>;
}

/** The same streams with a mistake: a user's function that throws for some rows, whatever its rule is about. */
export function withMistake(streams: Streams): Streams {
  return Object.fromEntries(
    Object.entries(streams).map(([type, ref]) => [
      type,
      {
        ...ref,
        events: Object.fromEntries(
          Object.entries(ref.events).map(([name, rule]) => [name, mistaken(rule)]),
        ),
      },
    ]),
  );
}

function mistaken(rule: Rule): Rule {
  const right = rule.where as ((now: Row, was: Row) => boolean) | undefined;
  const where = (now: Row, was: Row): boolean => {
    if (JSON.stringify(now).length % 5 === 0) throw new Error("this row was not thought of");
    return right === undefined || right(now, was);
  };
  return { ...rule, where } as Rule;
}
