import { checkTable } from "./check-table.ts";
import { ColumnHistory, recordedRole } from "./column-history.ts";
import { compileRule, type CompiledRule } from "./compiled-rule.ts";
import { describeStreams, fingerprintOf } from "./definition.ts";
import { brokenBy, compareShapes, silentChanges, sinceCatalogue, type Drift } from "./drift.ts";
import { RULE_SLOTS_MAX } from "./event-id.ts";
import { RowJson } from "./row-json.ts";
import type { ChildRef, Rule, StreamRef, TableRef, Transform } from "./rules.ts";
import { TableMapper, type FallbackSlots } from "./table-mapper.ts";
import type { ColumnDefinition } from "../model/column-definition.ts";
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
  readonly #histories = new Map<string, ColumnHistory>();
  /** Tables of whose rows images are kept: once begun it goes on, whatever the log tells later. */
  readonly #imaged = new Set<string>();
  /** By shape; forgotten when a history goes on. */
  #columns = new WeakMap<SourceTable, readonly ColumnDefinition[]>();

  /** @param recorded mappings of earlier runs, which know what became of columns */
  constructor(
    streams: readonly StreamPlan[],
    recorded: ReadonlyMap<number, MappingDefinition> = new Map(),
  ) {
    this.streams = streams;
    this.takesChildren = streams.some((stream) =>
      stream.rules.some(({ rule }) => rule.on === "insert" && rule.with.length > 0),
    );
    for (const plan of streams.flatMap((stream) => stream.roles)) {
      const { name } = plan.tableRef;
      if (this.#rolesByTable.has(name)) continue;
      this.#rolesByTable.set(name, plan);
      const known = recordedRole(recorded, plan.streamType, name);
      this.#histories.set(name, new ColumnHistory(known?.columns ?? []));
      if (known?.images === true) this.#imaged.add(name);
    }
  }

  /** Qualified names of all mapped tables, roots before their children. */
  get tables(): readonly string[] {
    return [...this.#rolesByTable.keys()];
  }

  stream(type: string): StreamPlan | undefined {
    return this.streams.find((stream) => stream.type === type);
  }

  streamOfTable(name: string): StreamPlan | undefined {
    return this.#rolesByTable.get(name)?.stream;
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

  /** Whether a shape from the log differs from the one that is known. */
  hasDrifted(table: SourceTable): boolean {
    const known = this.#shapes.get(table.name);
    return known !== undefined && compareShapes(known, table) !== undefined;
  }

  /** The columns of a mapped table's shape, with what rows hold that were told before they came. */
  columnsOf(table: SourceTable): readonly ColumnDefinition[] {
    let columns = this.#columns.get(table);
    if (columns === undefined) {
      columns = (this.#histories.get(table.name) ?? new ColumnHistory([])).of(table);
      this.#columns.set(table, columns);
    }
    return columns;
  }

  /** Events from now on belong to this mapping: also those of tables that did not change. */
  setVersion(version: number): void {
    for (const table of this.#shapes.values()) {
      const mapper = this.#mappers.get(table);
      if (mapper !== undefined) mapper.mappingVersion = version;
    }
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
   * @param current the table in the catalogue now, asked because the shape {@link hasDrifted}
   * @returns what drifted against the shape before, or undefined when nothing did
   */
  adopt(table: SourceTable, current?: SourceTable): Drift | undefined {
    const plan = this.#rolesByTable.get(table.name);
    if (plan === undefined) return undefined;
    const known = this.#shapes.get(table.name);
    const change = known === undefined ? undefined : compareShapes(known, table);
    const first = !this.#adopted.has(table.name);
    const real =
      change !== undefined && first
        ? sinceCatalogue(change, table, current)
        : (change ?? NO_CHANGE);
    if (current !== undefined) this.#learn(current);
    else if (change !== undefined && !first) this.#learn(table);
    const broken = brokenBy(plan, table, real);
    this.#shapes.set(table.name, table);
    this.#adopted.add(table.name);
    this.#compile(plan, table, broken, () => undefined);
    if (change === undefined) return undefined;
    const silent = silentChanges(change, this.columnsOf(table));
    return { table: table.name, ...change, ...silent, broken };
  }

  definition(): MappingDefinition {
    return describeStreams(this.streams, this.#shapes, {
      columnsOf: (table) => this.columnsOf(table),
      keepsImages: ({ name }) => this.#imaged.has(name),
    });
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
      this.#learn(table);
    }
    for (const table of tables) {
      const plan = this.#rolesByTable.get(table.name);
      if (plan === undefined) continue;
      checkTable(plan, table, this.#shapes, problem);
      this.#compile(plan, table, undefined, problem);
    }
  }

  #compile(
    plan: RolePlan,
    table: SourceTable,
    broken: BanyanError | undefined,
    problem: (message: string) => void,
  ): void {
    if (table.replicaIdentity !== "full") this.#imaged.add(table.name);
    const state = { rootKey: this.#rootKey(plan), keepsImages: this.#imaged.has(table.name) };
    this.#mappers.set(table, compileTable(plan, table, { ...state, broken }, problem));
  }

  #learn(table: SourceTable): void {
    this.#histories.get(table.name)?.learn(table);
    this.#columns = new WeakMap();
  }

  #rootKey(plan: RolePlan): readonly string[] {
    const root = this.#shapes.get(plan.stream.ref.root.name);
    return root === undefined ? [] : root.key.map((index) => root.columns[index]!.name);
  }
}

const NO_CHANGE = { added: [], dropped: [], retyped: [] } as const;

/**
 * Compiles a config's streams against the tables as the catalogue gives them now.
 *
 * @param tables shapes of all tables that {@link planStreams} names
 * @param recorded the store's mappings, for streams that have events already
 * @throws BanyanError `MAPPING_INVALID` listing every problem at once
 */
export function compileMapping(
  streams: Readonly<Record<string, StreamRef>>,
  tables: readonly SourceTable[],
  recorded?: ReadonlyMap<number, MappingDefinition>,
): Mapping {
  const problems: string[] = [];
  const problem = (message: string): void => void problems.push(message);
  const mapping = new Mapping(planStreams(streams, problem), recorded);
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
    if (role === "" || role === "__proto__" || role.startsWith("$"))
      problem(`stream ${type}: a child cannot be called "${role}"`);
    roles.push({ streamType: type, role, tableRef: child.table, child, stream: plan });
  }
  const names = [ref.otherwise, baselineType];
  if (ref.otherwise === baselineType)
    problem(`stream ${type}: fallback and baseline are both ${ref.otherwise}`);
  for (const name of [...names, ...plan.rules.map((rule) => rule.type)]) {
    if (name === "" || name === "__proto__")
      problem(`stream ${type}: an event cannot be called "${name}"`);
  }
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
  {
    rootKey,
    ...state
  }: {
    readonly rootKey: readonly string[];
    readonly keepsImages: boolean;
    readonly broken: BanyanError | undefined;
  },
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
    ...state,
  });
}

/** A child's foreign key columns in the order of the root's key, so that both make one stream id. */
function sortByRootKey(
  parent: readonly (readonly [own: string, root: string])[],
  rootKey: readonly string[],
): readonly (readonly [own: string, root: string])[] {
  return [...parent].sort((a, b) => rootKey.indexOf(a[1]) - rootKey.indexOf(b[1]));
}
