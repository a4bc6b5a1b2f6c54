import { cameWithinCounting, type ChangeRate } from "./change-rate.ts";
import type { Verdict } from "./assessment.ts";
import type { ColumnReading, ColumnRole } from "./column-roles.ts";
import { rate as perDayWords } from "./figures.ts";
import type { AggregateProposal } from "./propose-aggregates.ts";
import { listValues } from "./state-words.ts";
import type { StoreCost } from "./store-cost.ts";
import type { TableNature } from "./table-nature.ts";
import { list } from "./table-notes.ts";
import type { Blocker, Note } from "./assessment.ts";
import type { SampledTable, TableFacts } from "../source/database-facts.ts";
import { plural } from "../model/count-text.ts";

/** Everything that is known of a table when its aggregate is judged. */
export interface TableReading {
  readonly facts: TableFacts;
  readonly roles: readonly ColumnReading[];
  readonly nature: TableNature;
  readonly rate: ChangeRate;
  readonly cost: StoreCost;
  readonly sampled: SampledTable | undefined;
  /** Tables that hold its history already. */
  readonly historyIn: readonly string[];
  readonly notes: readonly Note[];
  readonly blockers: readonly Blocker[];
}

export interface Judgement {
  /** Never `migrate-first`: which one is first shows only beside the others. */
  readonly verdict: Exclude<Verdict, "migrate-first">;
  /** At least one. */
  readonly reasons: readonly string[];
  /** What history would bring, in points. */
  readonly worth: number;
  /** What stands in the way, in points. */
  readonly effort: number;
}

const MIGRATE_WORTH_MIN = 5;
const LATER_WORTH_MIN = 2;

/**
 * Judges one aggregate by itself. To leave it as CRUD is a judgement like the others and needs its
 * reason; what is not known never makes one.
 */
export function judgeAggregate(
  proposal: AggregateProposal,
  root: TableReading,
  children: readonly TableReading[],
): Judgement {
  const effort = effortOf(proposal, root, children);
  const weighed = worthOf(root, children);
  const { nature } = root;
  if (nature.nature !== "business" && !children.some(isTelling)) {
    const reason =
      nature.measured || nature.nature === "technical" ? nature.why : `${nature.why}; not measured`;
    return { verdict: "leave", reasons: [reason], worth: 0, effort };
  }
  const { points, reasons } = weighed;
  const unknown = root.rate.basis === "unknown";
  const verdict =
    points >= MIGRATE_WORTH_MIN
      ? "migrate"
      : points >= LATER_WORTH_MIN || unknown
        ? "later"
        : "leave";
  const words = [...reasons];
  if (verdict === "later" && unknown) words.push("how often it changes is not known");
  else if (verdict === "later") words.push("not much that its rows do not say already");
  if (verdict === "leave")
    words.push(
      "its rows say all there is to know: migrate it only when somebody needs its history",
    );
  const blocked = [root, ...children].filter(({ blockers }) => blockers.length > 0);
  if (verdict === "leave" || blocked.length === 0)
    return { verdict, reasons: words, worth: points, effort };
  const by = blocked.map(({ facts }) => facts.table.name);
  return {
    verdict: "blocked",
    reasons: [`${list(by)} must be unblocked first; then: ${verdict}`, ...reasons],
    worth: points,
    effort,
  };
}

/** A child that has something to tell makes its parent worth telling. */
function isTelling({ nature, roles }: TableReading): boolean {
  return (
    nature.nature === "business" && roles.some(({ role }) => role === "state" || role === "money")
  );
}

interface Worth {
  readonly points: number;
  readonly reasons: readonly string[];
}

function worthOf(root: TableReading, children: readonly TableReading[]): Worth {
  const reasons: string[] = [];
  let points = 0;
  const weigh = (value: number, reason: string): void => {
    points += value;
    reasons.push(reason);
  };
  const all = [root, ...children];
  const state = columnsWith(root, "state")[0];
  if (state !== undefined) weigh(isNumbered(state) ? 2 : 3, stateReason(state, root.sampled));
  else {
    const inChild = children.find((child) => columnsWith(child, "state").length > 0);
    if (inChild !== undefined) {
      const { relation } = inChild.facts.table;
      weigh(1, `${relation}.${stateReason(columnsWith(inChild, "state")[0]!, inChild.sampled)}`);
    }
  }
  const steps = milestones(root);
  if (steps.length > 0)
    weigh(
      steps.length > 1 ? 3 : 2,
      `${list(steps)} ${steps.length > 1 ? "are" : "is"} filled in later: a step in its life that an event would name`,
    );
  const money = all.flatMap((table) =>
    columnsWith(table, "money").map(({ column }) => label(table, root, column)),
  );
  if (money.length > 0) weigh(2, `money (${list(money)}): somebody will ask how it came about`);
  const overwritten = overwriting(root);
  if (overwritten !== undefined) weigh(...overwritten);
  const deletedPerDay = all.reduce((sum, { rate }) => sum + (rate.deletedPerDay ?? 0), 0);
  if (deletedPerDay >= 0.5)
    weigh(1, `rows are deleted without a trace, about ${perDayWords(deletedPerDay)} a day`);
  const history = all.flatMap(({ historyIn }) => historyIn);
  if (history.length > 0)
    weigh(2, `its history is kept already, in ${list(history)}: somebody needs it`);
  if (children.length > 0)
    weigh(
      1,
      `${children.length === 1 ? "one table lives and dies" : `${children.length} tables live and die`} with it: one unit of change`,
    );
  const gone = columnsWith(root, "soft-delete").map(({ column }) => column);
  if (gone.length > 0)
    weigh(1, `${list(gone)} marks rows as gone: when and why is lost with the next change`);
  const flags = columnsWith(root, "flag").map(({ column }) => column);
  if (flags.length > 0) weigh(1, `${list(flags)} can be switched on and off`);
  const personal = all.flatMap((table) => columnsWith(table, "personal"));
  if (personal.length > 0)
    weigh(
      1,
      `personal data (${list(personal.map(({ column }) => column))}): who changed what can be asked for`,
    );
  if (columnsWith(root, "version").length > 0)
    weigh(1, "it is locked as one unit already, by its version column");
  return { points, reasons };
}

function stateReason(state: ColumnReading, sampled: SampledTable | undefined): string {
  const { column, values } = state;
  const moves = [...(sampled?.transitions.get(column) ?? [])].toSorted((a, b) => b[1] - a[1]);
  if (moves.length > 0)
    return `${column} moves (${listValues(
      moves.map(([move]) => move),
      3,
    )}): each move becomes an event with a name`;
  if (isNumbered(state))
    return `${column} has numbered states (${listValues(values!)}): each move becomes an event, once somebody names them`;
  return values !== undefined && values.length > 0
    ? `${column} has states (${listValues(values)}): each move becomes an event with a name`
    : `${column} is a state by its name: each move becomes an event with a name`;
}

function isNumbered({ values }: ColumnReading): boolean {
  return (
    values !== undefined && values.length > 0 && values.every((value) => /^-?\d+$/.test(value))
  );
}

/** Times that a row gets only later. */
function milestones({ facts, roles }: TableReading): readonly string[] {
  return roles
    .filter(({ role }) => role === "happened-at")
    .map(({ column }) => column)
    .filter((name) => facts.columns.find((column) => column.name === name)!.nullable);
}

function overwriting({ facts, rate, sampled }: TableReading): [number, string] | undefined {
  const { updatedPerDay, basis } = rate;
  if (updatedPerDay === undefined) return undefined;
  if (updatedPerDay === 0)
    return basis === "statistics" && !cameWithinCounting(facts)
      ? [-1, "its rows are not overwritten"]
      : undefined;
  if (basis === "sample")
    return [
      2,
      `${plural(sampled?.updated ?? 0, "update")} in the sample, and what they overwrote is gone`,
    ];
  const { changes, rows } = facts;
  const times = rows === undefined || rows === 0 ? undefined : changes!.updated / rows;
  return times !== undefined && times >= 0.5
    ? [
        2,
        `each row was overwritten ${times.toFixed(times < 10 ? 1 : 0)} times on average, and what stood there is gone`,
      ]
    : [
        1,
        `rows are overwritten, ${updatedPerDay < 1 ? "less than one a day" : `about ${perDayWords(updatedPerDay)} a day`}`,
      ];
}

function effortOf(
  proposal: AggregateProposal,
  root: TableReading,
  children: readonly TableReading[],
): number {
  const all = [root, ...children];
  const rows = all.reduce((sum, { facts }) => sum + (facts.rows ?? 0), 0);
  const perDay = all.reduce(
    (sum, { rate }) =>
      sum + (rate.insertedPerDay ?? 0) + (rate.updatedPerDay ?? 0) + (rate.deletedPerDay ?? 0),
    0,
  );
  const has = (code: string): boolean =>
    all.some(({ notes }) => notes.some((note) => note.code === code));
  return (
    children.length * 0.5 +
    proposal.leaving.filter(({ enforced }) => enforced).length * 0.25 +
    (proposal.validTime === undefined ? 0.5 : 0) +
    (rows > 100_000_000 ? 2 : rows > 10_000_000 ? 1 : 0) +
    (perDay > 10_000_000 ? 2 : 0) +
    (all.some(({ facts }) => facts.rows === undefined) ? 0.5 : 0) +
    (has("out-of-line") ? 0.5 : 0) +
    (has("triggers") ? 0.5 : 0) +
    (has("no-foreign-key") ? 1 : 0) +
    (has("personal") || has("secrets") ? 0.5 : 0)
  );
}

function columnsWith({ roles }: TableReading, role: ColumnRole): readonly ColumnReading[] {
  return roles.filter((reading) => reading.role === role);
}

function label(table: TableReading, root: TableReading, column: string): string {
  return table === root ? column : `${table.facts.table.relation}.${column}`;
}
