import { createHash } from "node:crypto";
import type { StreamPlan } from "./stream-plan.ts";
import { ruleText } from "./rule-text.ts";
import type { Rule } from "./rules.ts";
import type { ColumnDefinition } from "../model/column-definition.ts";
import type {
  EventShape,
  MappingDefinition,
  StreamDefinition,
} from "../model/mapping-definition.ts";
import type { SourceTable } from "../model/table.ts";

/** What a mapping knows of a table beside its shape. */
interface TableFacts {
  readonly columnsOf: (table: SourceTable) => readonly ColumnDefinition[];
  readonly keepsImages: (table: SourceTable) => boolean;
}

/** The derived inverse of a compiled config: what each event type does to which row. */
export function describeStreams(
  streams: readonly StreamPlan[],
  shapes: ReadonlyMap<string, SourceTable>,
  facts: TableFacts,
): MappingDefinition {
  return {
    streams: Object.fromEntries(streams.map((plan) => [plan.type, describe(plan, shapes, facts)])),
  };
}

/** Stable over runs: the same config on the same shapes is the same mapping version. */
export function fingerprintOf(definition: MappingDefinition): string {
  return createHash("sha256").update(JSON.stringify(definition, inOrder)).digest("hex");
}

/** Members by name: what was read back from the store has them in another order than what was made. */
function inOrder(_name: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function describe(
  plan: StreamPlan,
  shapes: ReadonlyMap<string, SourceTable>,
  { columnsOf, keepsImages }: TableFacts,
): StreamDefinition {
  const roleOf = (table: string): string =>
    plan.roles.find((role) => role.tableRef.name === table)!.role;
  const events: Record<string, EventShape> = {
    [plan.fallback.type]: { kind: "any" },
    [plan.baselineType]: {
      kind: "created",
      role: plan.rootRole,
      with: plan.roles.slice(1).map((role) => role.role),
    },
  };
  events[plan.gapType] = {
    kind: "restated",
    role: plan.rootRole,
    with: plan.roles.slice(1).map((role) => role.role),
  };
  for (const { type, rule } of plan.rules) {
    events[type] = shapeOf(rule, roleOf(rule.table.name), roleOf);
  }
  const roles = plan.roles.flatMap(({ role, tableRef, child }) => {
    const table = shapes.get(tableRef.name);
    if (table === undefined) return [];
    const key = table.key.map((index) => table.columns[index]!.name);
    const images = keepsImages(table) ? { images: true as const } : {};
    const parent = child === undefined ? {} : { parent: child.parent };
    const columns = columnsOf(table);
    const { validTime: named } = child ?? plan.ref;
    const validTime = named === undefined ? {} : { validTime: named };
    const definition = { table: table.name, columns, key, ...parent, ...validTime, ...images };
    return [[role, definition] as const];
  });
  return { root: plan.rootRole, roles: Object.fromEntries(roles), events };
}

function shapeOf(rule: Rule, role: string, roleOf: (table: string) => string): EventShape {
  const told = ruleText(rule);
  switch (rule.on) {
    case "insert":
      return { kind: "created", role, with: rule.with.map((taken) => roleOf(taken.name)), told };
    case "update": {
      const inverse = rule.transform === undefined ? {} : { inverse: "function" as const };
      return { kind: "changed", role, ...inverse, told };
    }
    case "delete":
      return { kind: "removed", role, told };
  }
}
