import { checkPlan } from "./check-plan.ts";
import { RULE_SLOTS_MAX } from "./event-id.ts";
import type { ReportProblem } from "./mapping-problem.ts";
import type { ChildRef, Rule, StreamRef, TableRef } from "./rules.ts";
import type { FallbackSlots } from "./table-mapper.ts";

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
  /** The event of an aggregate that was read anew, because what happened to it for a while is not known. */
  readonly gapType: string;
  /** Numbered like baseline events, behind all others. */
  gapSlot: number;
  /** Rule number of the events that a TRUNCATE gives, numbered like baseline events. */
  readonly truncateSlot: number;
}

/** A table that a config names. */
export interface MappedTable {
  readonly name: string;
  /** Named by the config. */
  readonly key?: readonly string[];
  /** Of a child: its columns that hold the root's key. */
  readonly parent?: readonly string[];
}

/** The tables of a mapping, by the names that the config gives them. */
export function tablesOf({
  streams,
}: {
  readonly streams: readonly StreamPlan[];
}): readonly MappedTable[] {
  return streams
    .flatMap((plan) => plan.roles)
    .map(({ tableRef: { name, key }, child }) => ({
      name,
      ...(key === undefined ? {} : { key }),
      ...(child === undefined ? {} : { parent: Object.keys(child.parent) }),
    }));
}

/** Numbers the rules of all streams, and says what is wrong with them as such. */
export function planStreams(
  streams: Readonly<Record<string, StreamRef>>,
  problem: ReportProblem,
): StreamPlan[] {
  let slots = 0;
  const slot = (): number => slots++;
  const owners = new Map<string, string>();
  const plans = Object.entries(streams).map(([type, ref]) => {
    const plan = planStream(type, ref, slot, problem);
    for (const { tableRef } of plan.roles) {
      const owner = owners.get(tableRef.name);
      if (owner !== undefined) {
        problem({
          code: "table-in-two-streams",
          stream: type,
          table: tableRef.name,
          message: `table ${tableRef.name} belongs to both ${owner} and ${type}; a table has one owner`,
          next: `Leave it in one of the two`,
        });
      }
      owners.set(tableRef.name, type);
    }
    return plan;
  });
  for (const plan of plans) plan.gapSlot = slot();
  if (slots > RULE_SLOTS_MAX) {
    problem({
      code: "rules-too-many",
      message: `the mapping has ${slots} rules; at most ${RULE_SLOTS_MAX} fit into an event id`,
      next: "Divide the streams among several configs, each with a name of its own",
    });
  }
  return plans;
}

function planStream(
  type: string,
  ref: StreamRef,
  slot: () => number,
  problem: ReportProblem,
): StreamPlan {
  const rootRole = type;
  const word = `${type[0]?.toUpperCase() ?? ""}${type.slice(1)}`;
  const baselineType = ref.baseline ?? `${word}Baselined`;
  const plan: StreamPlan = {
    type,
    ref,
    rootRole,
    roles: [],
    rules: Object.entries(ref.events).map(([name, rule]) => ({ type: name, slot: slot(), rule })),
    fallback: { type: ref.otherwise, update: slot(), leave: slot(), join: slot() },
    baselineType,
    baselineSlot: slot(),
    gapType: `${word}HistoryGapped`,
    gapSlot: -1,
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
    roles.push({ streamType: type, role, tableRef: child.table, child, stream: plan });
  }
  checkPlan(plan, problem);
  return plan;
}
