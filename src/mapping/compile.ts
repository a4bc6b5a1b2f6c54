import { compileRule, type CompiledRule } from "./compiled-rule.ts";
import { describeStreams, fingerprintOf } from "./definition.ts";
import { RULE_SLOTS_MAX } from "./event-id.ts";
import { RowJson } from "./row-json.ts";
import type { ChildRef, Rule, StreamRef, TableRef, Transform } from "./rules.ts";
import { TableMapper, type FallbackSlots } from "./table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";
import type { SourceTable } from "../model/table.ts";

/** A table's part in a stream. */
export interface RolePlan {
  readonly streamType: string;
  readonly role: string;
  readonly tableRef: TableRef;
  /** Undefined for the root. */
  readonly child: ChildRef | undefined;
  readonly stream: StreamPlan;
}

/** A stream of the config with its rule numbers, before any table shape is known. */
export interface StreamPlan {
  readonly type: string;
  readonly ref: StreamRef;
  readonly rootRole: string;
  readonly roles: readonly RolePlan[];
  readonly rules: readonly { readonly type: string; readonly slot: number; readonly rule: Rule }[];
  readonly fallback: FallbackSlots;
  readonly baselineType: string;
  readonly baselineSlot: number;
  /** Rule number of the events that a TRUNCATE gives, numbered like baseline events. */
  readonly truncateSlot: number;
}

/** How a table's shape differs from the one before. */
export interface Drift {
  readonly table: string;
  readonly added: readonly string[];
  readonly dropped: readonly string[];
  readonly retyped: readonly string[];
  /** Set when a rule uses what is gone: the table's streams stop. */
  readonly broken: BanyanError | undefined;
}

/**
 * The mapping of a config, compiled for the shapes its tables have now.
 *
 * Shapes come from the log; {@link adopt} takes a new one. `definition` always describes the shapes
 * adopted last and is what the store keeps beside the events.
 */
export class Mapping {
  readonly streams: readonly StreamPlan[];
  /** Whether any insert rule takes child rows with it. */
  readonly takesChildren: boolean;
  readonly #rolesByTable = new Map<string, RolePlan>();
  readonly #shapes = new Map<string, SourceTable>();
  readonly #adopted = new Set<string>();
  readonly #mappers = new WeakMap<SourceTable, TableMapper>();

  constructor(streams: readonly StreamPlan[]) {
    this.streams = streams;
    this.takesChildren = streams.some((stream) =>
      stream.rules.some(({ rule }) => rule.on === "insert" && rule.with.length > 0),
    );
    for (const plan of streams.flatMap((stream) => stream.roles)) {
      if (!this.#rolesByTable.has(plan.tableRef.name))
        this.#rolesByTable.set(plan.tableRef.name, plan);
    }
  }

  /** Qualified names of all mapped tables, roots before their children. */
  get tables(): readonly string[] {
    return [...this.#rolesByTable.keys()];
  }

  stream(type: string): StreamPlan | undefined {
    return this.streams.find((stream) => stream.type === type);
  }

  /** The mapper of a shape, or undefined when it has not been adopted yet (or the table is not mapped). */
  mapperOf(table: SourceTable): TableMapper | undefined {
    return this.#mappers.get(table);
  }

  mapsTable(name: string): boolean {
    return this.#rolesByTable.has(name);
  }

  shapeOf(name: string): SourceTable | undefined {
    return this.#shapes.get(name);
  }

  /** Functions that turn transformed data back, by stream type and event type. */
  inverses(): ReadonlyMap<string, Transform<never>["from"]> {
    const inverses = new Map<string, Transform<never>["from"]>();
    for (const stream of this.streams) {
      for (const { type, rule } of stream.rules) {
        if (rule.on === "update" && rule.transform !== undefined) {
          inverses.set(`${stream.type}/${type}`, rule.transform.from);
        }
      }
    }
    return inverses;
  }

  /**
   * Takes a table's shape from the log and compiles its mapper. A shape that lost or retyped a column
   * that a rule uses gives a mapper that refuses every change, which sends them to quarantine.
   *
   * @returns what drifted against the shape before, or undefined when nothing did
   */
  adopt(table: SourceTable): Drift | undefined {
    const plan = this.#rolesByTable.get(table.name);
    if (plan === undefined) return undefined;
    const known = this.#shapes.get(table.name);
    const drift = known === undefined ? undefined : compareShapes(known, table);
    // The first shape from the log may be older than the catalogue: a column it lacks did not exist yet.
    const older = !this.#adopted.has(table.name);
    const broken =
      drift === undefined || older ? undefined : brokenBy(plan, drift.dropped, drift.retyped);
    this.#shapes.set(table.name, table);
    this.#adopted.add(table.name);
    this.#mappers.set(
      table,
      compileTable(plan, table, this.#rootKey(plan), broken, () => undefined),
    );
    return drift === undefined ? undefined : { ...drift, broken };
  }

  definition(): MappingDefinition {
    return describeStreams(this.streams, this.#shapes);
  }

  fingerprint(): string {
    return fingerprintOf(this.definition());
  }

  /** Compiles the catalogue's shapes, telling `problem` of everything that does not fit. */
  compileAll(tables: readonly SourceTable[], problem: (message: string) => void): void {
    for (const table of tables) {
      const plan = this.#rolesByTable.get(table.name);
      if (plan === undefined) continue;
      this.#shapes.set(table.name, table);
    }
    for (const table of tables) {
      const plan = this.#rolesByTable.get(table.name);
      if (plan === undefined) continue;
      checkKeys(plan, table, this.#shapes, problem);
      this.#mappers.set(table, compileTable(plan, table, this.#rootKey(plan), undefined, problem));
    }
  }

  #rootKey(plan: RolePlan): readonly string[] {
    const root = this.#shapes.get(plan.stream.ref.root.name);
    return root === undefined ? [] : root.key.map((index) => root.columns[index]!.name);
  }
}

/**
 * Compiles a config's streams against the tables as the catalogue gives them now.
 *
 * @param tables shapes of all tables that {@link planStreams} names
 * @throws BanyanError `MAPPING_INVALID` listing every problem at once
 */
export function compileMapping(
  streams: Readonly<Record<string, StreamRef>>,
  tables: readonly SourceTable[],
): Mapping {
  const problems: string[] = [];
  const problem = (message: string): void => void problems.push(message);
  const mapping = new Mapping(planStreams(streams, problem));
  mapping.compileAll(tables, problem);
  refuse(problems);
  return mapping;
}

/** The tables a config needs, before anything is known of the database. @throws BanyanError `MAPPING_INVALID` */
export function plannedTables(
  streams: Readonly<Record<string, StreamRef>>,
): readonly { readonly name: string; readonly key?: readonly string[] }[] {
  const problems: string[] = [];
  const plans = planStreams(streams, (message) => void problems.push(message));
  refuse(problems);
  return plans
    .flatMap((plan) => plan.roles)
    .map(({ tableRef }) =>
      tableRef.key === undefined
        ? { name: tableRef.name }
        : { name: tableRef.name, key: tableRef.key },
    );
}

function refuse(problems: readonly string[]): void {
  if (problems.length === 0) return;
  throw new BanyanError(
    "MAPPING_INVALID",
    `the mapping has ${problems.length} problem${problems.length === 1 ? "" : "s"}:\n${problems.map((p) => `  - ${p}`).join("\n")}`,
    { hint: "Correct the streams in the config and run: banyan check" },
  );
}

function planStreams(
  streams: Readonly<Record<string, StreamRef>>,
  problem: (message: string) => void,
): StreamPlan[] {
  let slots = 0;
  const slot = (): number => slots++;
  const owners = new Map<string, string>();
  const plans = Object.entries(streams).map(([type, ref]) => {
    const plan = planStream(type, ref, slot, problem);
    for (const { tableRef } of plan.roles) {
      const owner = owners.get(tableRef.name);
      if (owner !== undefined) {
        problem(
          `table ${tableRef.name} belongs to both ${owner} and ${type}; a table has one owner`,
        );
      }
      owners.set(tableRef.name, type);
    }
    return plan;
  });
  if (slots > RULE_SLOTS_MAX) {
    problem(`the mapping has ${slots} rules; at most ${RULE_SLOTS_MAX} fit into an event id`);
  }
  return plans;
}

function planStream(
  type: string,
  ref: StreamRef,
  slot: () => number,
  problem: (message: string) => void,
): StreamPlan {
  if (!/^[a-zA-Z][a-zA-Z0-9_]*$/.test(type)) {
    problem(
      `stream "${type}": a stream's name is a letter followed by letters, digits and underscores`,
    );
  }
  const rootRole = type;
  const baselineType = ref.baseline ?? `${type[0]?.toUpperCase() ?? ""}${type.slice(1)}Baselined`;
  const plan: StreamPlan = {
    type,
    ref,
    rootRole,
    roles: [],
    rules: Object.entries(ref.events).map(([name, rule]) => ({ type: name, slot: slot(), rule })),
    fallback: { type: ref.otherwise, update: slot(), leave: slot(), join: slot(), link: slot() },
    baselineType,
    baselineSlot: slot(),
    truncateSlot: slot(),
  };
  const roles = plan.roles as RolePlan[];
  roles.push({
    streamType: type,
    role: rootRole,
    tableRef: ref.root,
    child: undefined,
    stream: plan,
  });
  for (const [role, child] of Object.entries(ref.children)) {
    if (role === rootRole)
      problem(`stream ${type}: the child "${role}" has the name of its stream`);
    roles.push({ streamType: type, role, tableRef: child.table, child, stream: plan });
  }
  const names = [ref.otherwise, baselineType];
  if (ref.otherwise === baselineType)
    problem(`stream ${type}: fallback and baseline are both ${ref.otherwise}`);
  for (const { type: name, rule } of plan.rules) {
    if (names.includes(name))
      problem(`stream ${type}: rule ${name} has the name of the fallback or baseline event`);
    const tables = roles.map((role) => role.tableRef.name);
    if (!tables.includes(rule.table.name)) {
      problem(`rule ${name} is about ${rule.table.name}, which is not a table of stream ${type}`);
    }
    if (rule.on !== "insert") continue;
    for (const taken of rule.with) {
      if (rule.table.name !== ref.root.name || !tables.slice(1).includes(taken.name)) {
        problem(
          `rule ${name}: "with" names ${taken.name}; only children of the root's own insert can be taken with it`,
        );
      }
    }
  }
  return plan;
}

function compileTable(
  plan: RolePlan,
  table: SourceTable,
  rootKey: readonly string[],
  broken: BanyanError | undefined,
  problem: (message: string) => void,
): TableMapper {
  const json = new RowJson(table);
  const compiled: { on: Rule["on"]; rule: CompiledRule }[] = [];
  for (const { type, slot, rule } of plan.stream.rules) {
    if (rule.table.name !== table.name) continue;
    const withRoles =
      rule.on === "insert"
        ? plan.stream.roles
            .filter((role) => rule.with.some((taken) => taken.name === role.tableRef.name))
            .map((role) => role.role)
        : [];
    let fits = true;
    const result = compileRule(type, slot, rule, table, json, withRoles, (message) => {
      fits = false;
      problem(message);
    });
    if (fits) compiled.push({ on: rule.on, rule: result });
  }
  const of = (on: Rule["on"]): CompiledRule[] =>
    compiled.filter((entry) => entry.on === on).map((entry) => entry.rule);
  const indexOf = (name: string): number => table.columns.findIndex((c) => c.name === name);
  const validTime = plan.child === undefined ? plan.stream.ref.validTime : plan.child.validTime;
  const validTimeColumn = validTime === undefined ? -1 : indexOf(validTime);
  if (validTime !== undefined && validTimeColumn < 0) {
    problem(
      `stream ${plan.streamType}: validTime names column "${validTime}", which ${table.name} does not have`,
    );
  }
  const rootColumns = plan.child === undefined ? [] : Object.entries(plan.child.parent);
  return new TableMapper({
    table,
    streamType: plan.streamType,
    role: plan.role,
    isRoot: plan.child === undefined,
    streamColumns:
      plan.child === undefined
        ? table.key
        : sortByRootKey(rootColumns, rootKey).map(([own]) => indexOf(own)),
    validTimeColumn: validTimeColumn < 0 ? undefined : validTimeColumn,
    json,
    inserts: of("insert"),
    updates: of("update"),
    deletes: of("delete"),
    fallback: plan.stream.fallback,
    baselineType: plan.stream.baselineType,
    baselineSlot: plan.stream.baselineSlot,
    broken,
  });
}

/** A child's foreign key columns in the order of the root's key, so that both make one stream id. */
function sortByRootKey(
  parent: readonly (readonly [own: string, root: string])[],
  rootKey: readonly string[],
): readonly (readonly [own: string, root: string])[] {
  return [...parent].sort((a, b) => rootKey.indexOf(a[1]) - rootKey.indexOf(b[1]));
}

function checkKeys(
  plan: RolePlan,
  table: SourceTable,
  shapes: ReadonlyMap<string, SourceTable>,
  problem: (message: string) => void,
): void {
  if (table.key.length === 0) {
    problem(
      `table ${table.name} has no primary key; name columns that identify a row: table("${table.name}", { key: [...] })`,
    );
  }
  for (const column of table.columns) {
    if (column.name.startsWith("$")) {
      problem(
        `column "${column.name}" of ${table.name} begins with $, which is kept for Banyan's own words in event data`,
      );
    }
    if (plan.child === undefined && column.name in plan.stream.ref.children) {
      problem(
        `stream ${plan.streamType}: the child "${column.name}" has the name of a column of ${table.name}; give it another`,
      );
    }
  }
  if (plan.child === undefined) return;
  const root = shapes.get(plan.stream.ref.root.name);
  if (root === undefined) return;
  const rootKey = root.key.map((index) => root.columns[index]!.name);
  const referred = Object.values(plan.child.parent);
  if ([...referred].sort().join("\0") !== [...rootKey].sort().join("\0")) {
    problem(
      `child ${plan.role} of stream ${plan.streamType} refers to (${referred.join(", ")}), but the key of ${root.name} is (${rootKey.join(", ")})`,
    );
  }
  for (const own of Object.keys(plan.child.parent)) {
    if (!table.columns.some((column) => column.name === own)) {
      problem(
        `child ${plan.role} of stream ${plan.streamType} uses column "${own}", which ${table.name} does not have`,
      );
    }
  }
}

function compareShapes(known: SourceTable, now: SourceTable): Omit<Drift, "broken"> | undefined {
  const old = new Map(known.columns.map((column) => [column.name, column]));
  const names = new Set(now.columns.map((column) => column.name));
  const added = now.columns.filter((column) => !old.has(column.name)).map((column) => column.name);
  const dropped = [...old.keys()].filter((name) => !names.has(name));
  const retyped = now.columns
    .filter((column) => (old.get(column.name)?.type ?? column.type) !== column.type)
    .map((column) => column.name);
  if (added.length + dropped.length + retyped.length === 0) return undefined;
  return { table: now.name, added, dropped, retyped };
}

/** The error of a shape that lost or retyped a column that a rule, the key or the parent link uses. */
function brokenBy(
  plan: RolePlan,
  dropped: readonly string[],
  retyped: readonly string[],
): BanyanError | undefined {
  const gone = new Set([...dropped, ...retyped]);
  const link = Object.keys(plan.child?.parent ?? {}).find((name) => gone.has(name));
  if (link !== undefined) return driftError(plan, link, dropped, `the parent link of ${plan.role}`);
  for (const { type, rule } of plan.stream.rules) {
    if (rule.table.name !== plan.tableRef.name) continue;
    const used = [
      ...Object.keys(rule.conditions),
      ...(rule.on === "update"
        ? [...rule.anyOf, ...rule.data, ...(rule.transform?.columns ?? [])]
        : []),
    ];
    const name = used.find((column) => gone.has(column));
    if (name !== undefined) return driftError(plan, name, dropped, `rule ${type}`);
  }
  return undefined;
}

function driftError(
  plan: RolePlan,
  column: string,
  dropped: readonly string[],
  user: string,
): BanyanError {
  const what = dropped.includes(column) ? "dropped" : "given another type";
  return new BanyanError(
    "SCHEMA_DRIFT",
    `column "${column}" of ${plan.tableRef.name} was ${what}, but ${user} uses it`,
    {
      hint: "Change the config to the new schema, start banyan run again, then: banyan quarantine retry",
      detail: { table: plan.tableRef.name, column },
    },
  );
}
