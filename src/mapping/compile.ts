import { checkRecorded } from "./check-recorded.ts";
import { checkTable } from "./check-table.ts";
import { coverageOf, type CoverageCounter, type MappingCoverage } from "./coverage.ts";
import { ColumnHistory, hasUnimaged, recordedRole, renamedRole } from "./column-history.ts";
import { compileRule, type CompiledRule } from "./compiled-rule.ts";
import { describeStreams, fingerprintOf } from "./definition.ts";
import { brokenBy, compareShapes, silentChanges, sinceCatalogue, type Drift } from "./drift.ts";
import {
  columnHint,
  refuseProblems,
  type MappingProblem,
  type ReportProblem,
} from "./mapping-problem.ts";
import { RowJson } from "./row-json.ts";
import type { Rule, StreamRef, Transform } from "./rules.ts";
import {
  planStreams,
  tablesOf,
  type MappedTable,
  type RolePlan,
  type StreamPlan,
} from "./stream-plan.ts";
import { TableMapper, type ImageKeeping } from "./table-mapper.ts";
import type { ColumnDefinition } from "../model/column-definition.ts";
import type { BanyanError } from "../model/errors.ts";
import type { MappingDefinition, RoleDefinition } from "../model/mapping-definition.ts";
import type { SourceTable } from "../model/table.ts";

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
  readonly #recorded: ReadonlyMap<number, MappingDefinition>;
  /** Of tables by what they were called before. */
  readonly #namesNow = new Map<string, string>();
  readonly #shapes = new Map<string, SourceTable>();
  readonly #adopted = new Set<string>();
  readonly #mappers = new WeakMap<SourceTable, TableMapper>();
  readonly #histories = new Map<string, ColumnHistory>();
  readonly #images = new Map<string, ImageKeeping>();
  /** Tables of which some mapping kept no images. */
  readonly #unimaged = new Set<string>();
  readonly #counters: CoverageCounter[] = [];
  /** By shape; forgotten when a history goes on. */
  #columns = new WeakMap<SourceTable, readonly ColumnDefinition[]>();

  /** @param recorded mappings of earlier runs, which know what became of columns */
  constructor(
    streams: readonly StreamPlan[],
    recorded: ReadonlyMap<number, MappingDefinition> = new Map(),
  ) {
    this.streams = streams;
    this.#recorded = recorded;
    this.takesChildren = streams.some((stream) =>
      stream.rules.some(({ rule }) => rule.on === "insert" && rule.with.length > 0),
    );
    for (const plan of streams.flatMap((stream) => stream.roles)) {
      const { name } = plan.tableRef;
      if (this.#rolesByTable.has(name)) continue;
      this.#rolesByTable.set(name, plan);
      this.#remember(name, recordedRole(recorded, plan.streamType, name));
      if (hasUnimaged(recorded, plan.streamType, name, plan.role)) this.#unimaged.add(name);
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

  /** Takes what tables were called so far, by stream type and role. */
  learnNames(
    names: readonly { readonly table: string; readonly stream: string; readonly role: string }[],
  ): void {
    for (const { table, stream, role } of names) {
      const now = this.stream(stream)?.roles.find((plan) => plan.role === role);
      if (now !== undefined) this.#namesNow.set(table, now.tableRef.name);
    }
  }

  /** What a mapped table is called now that may have been renamed since; any other name is as it was. */
  nameNow(name: string): string {
    return this.mapsTable(name) ? name : (this.#namesNow.get(name) ?? name);
  }

  shapeOf(name: string): SourceTable | undefined {
    return this.#shapes.get(name);
  }

  /** Whether images of a mapped table's rows are kept. */
  keepsImages(name: string): boolean {
    return this.#images.get(name)?.isKept === true;
  }

  /** Whether they were in all mappings so far, so that a row of which there is none was not told. */
  hasAllImages(name: string): boolean {
    return this.keepsImages(name) && !this.#unimaged.has(name);
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
      for (const [type, from] of Object.entries(stream.ref.inverses))
        inverses.set(`${stream.type}/${type}`, from);
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

  /** How changes were told so far, by all shapes of each table. */
  coverage(): MappingCoverage {
    return coverageOf(this.#counters);
  }

  definition(): MappingDefinition {
    return describeStreams(this.streams, this.#shapes, {
      columnsOf: (table) => this.columnsOf(table),
      keepsImages: ({ name }) => this.keepsImages(name),
    });
  }

  fingerprint(): string {
    return fingerprintOf(this.definition());
  }

  /** Compiles the catalogue's shapes, telling `problem` of everything that does not fit. */
  compileAll(tables: readonly SourceTable[], problem: ReportProblem): void {
    for (const table of tables) {
      const plan = this.#rolesByTable.get(table.name);
      if (plan === undefined) continue;
      this.#shapes.set(table.name, table);
      const before = renamedRole(this.#recorded, plan.streamType, plan.role, table);
      if (before !== undefined) this.#remember(table.name, before);
      this.#learn(table);
    }
    for (const table of tables) {
      const plan = this.#rolesByTable.get(table.name);
      if (plan === undefined) continue;
      checkTable(plan, table, this.#shapes, problem);
      this.#compile(plan, table, undefined, problem);
    }
  }

  #remember(name: string, role: RoleDefinition | undefined): void {
    this.#histories.set(name, new ColumnHistory(role?.columns ?? []));
    this.#images.set(name, { isKept: role?.images === true });
  }

  #compile(
    plan: RolePlan,
    table: SourceTable,
    broken: BanyanError | undefined,
    problem: ReportProblem,
  ): void {
    const images = this.#images.get(table.name)!;
    if (table.replicaIdentity !== "full") images.isKept = true;
    else if (!images.isKept) this.#unimaged.add(table.name);
    const state = { rootKey: this.#rootKey(plan), images };
    const mapper = compileTable(plan, table, { ...state, broken }, problem);
    this.#mappers.set(table, mapper);
    this.#counters.push(mapper.coverage);
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
  const { mapping, problems } = examineMapping(streams, tables, recorded);
  refuseProblems(problems);
  return mapping;
}

/**
 * As {@link compileMapping}, for whoever wants to show what is wrong instead of failing with it. Where
 * there are problems the mapping is good for nothing but the streams that have none.
 *
 * @param tables those that exist; what is only said of the others is not looked at
 */
export function examineMapping(
  streams: Readonly<Record<string, StreamRef>>,
  tables: readonly SourceTable[],
  recorded?: ReadonlyMap<number, MappingDefinition>,
): { readonly mapping: Mapping; readonly problems: readonly MappingProblem[] } {
  const problems: MappingProblem[] = [];
  const problem: ReportProblem = (found) => void problems.push(found);
  const mapping = new Mapping(planStreams(streams, problem), recorded);
  mapping.compileAll(tables, problem);
  if (recorded !== undefined) checkRecorded(mapping, recorded, problem);
  return { mapping, problems };
}

/** The tables a config needs, before anything is known of the database. @throws BanyanError `MAPPING_INVALID` */
export function plannedTables(
  streams: Readonly<Record<string, StreamRef>>,
): readonly MappedTable[] {
  const { mapping, problems } = examineMapping(streams, []);
  refuseProblems(problems);
  return tablesOf(mapping);
}

function compileTable(
  plan: RolePlan,
  table: SourceTable,
  {
    rootKey,
    ...state
  }: {
    readonly rootKey: readonly string[];
    readonly images: ImageKeeping;
    readonly broken: BanyanError | undefined;
  },
  report: ReportProblem,
): TableMapper {
  const problem: ReportProblem = (found) =>
    report({ stream: plan.streamType, table: table.name, ...found });
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
    const result = compileRule(type, slot, rule, table, json, withRoles, (found) => {
      fits = false;
      problem(found);
    });
    if (fits) compiled.push({ on: rule.on, rule: result });
  }
  const of = (on: Rule["on"]): CompiledRule[] =>
    compiled.filter((entry) => entry.on === on).map((entry) => entry.rule);
  const indexOf = (name: string): number => table.columns.findIndex((c) => c.name === name);
  const validTime = plan.child === undefined ? plan.stream.ref.validTime : plan.child.validTime;
  const validTimeColumn = validTime === undefined ? -1 : indexOf(validTime);
  if (validTime !== undefined && validTimeColumn < 0) {
    problem({
      code: "column-missing",
      column: validTime,
      message: `stream ${plan.streamType}: validTime names column "${validTime}", which ${table.name} does not have`,
      next: columnHint(table, validTime),
    });
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
