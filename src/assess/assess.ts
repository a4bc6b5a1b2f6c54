import type { AssessedAggregate, AssessedTable, Assessment, Basis, Verdict } from "./assessment.ts";
import { VERDICTS } from "./assessment.ts";
import { adviceOf, basisOf, serverBlockers, type AssessOptions } from "./basis.ts";
import { aggregateCost, changesPerDay, sumOf } from "./costs.ts";
import { judgeAggregate, type Judgement, type TableReading } from "./judge-aggregate.ts";
import { proposeAggregates, type AggregateProposal } from "./propose-aggregates.ts";
import { readTables } from "./read-tables.ts";
import { summarize } from "./summarize.ts";
import type { DatabaseFacts } from "../source/database-facts.ts";

/** Of a circle of hundreds nobody reads all. */
const CIRCLE_MAX = 20;

/** Judges a database by what it says of itself. The same facts always give the same judgement. */
export function assess(facts: DatabaseFacts, options: AssessOptions = {}): Assessment {
  const proposals = proposeAggregates(facts, options);
  const readings = readTables(facts, proposals.references, options.sample);
  const judged = proposals.aggregates.map((proposal) => {
    const root = readings.get(proposal.root)!;
    const children = proposal.children.map(({ table }) => readings.get(table)!);
    return { proposal, root, children, judgement: judgeAggregate(proposal, root, children) };
  });
  const first = chooseFirst(judged);
  const circleOf = (name: string): readonly string[] =>
    proposals.circles.find((circle) => circle.includes(name)) ?? [];
  const aggregates = judged
    .map((one) => assessedAggregate(one, one === first, circleOf(one.proposal.name)))
    .toSorted(byOrder);
  const aggregateOf = new Map(
    aggregates.flatMap((aggregate) =>
      [aggregate.root, ...aggregate.children.map(({ table }) => table)].map(
        (table) => [table, aggregate] as const,
      ),
    ),
  );
  const tables = facts.tables.map(({ table }) =>
    assessedTable(readings.get(table.name)!, aggregateOf.get(table.name)!),
  );
  const basis = basisOf(facts, options);
  const blockers = [
    ...serverBlockers(facts),
    ...tables.flatMap((table) => (table.verdict === "blocked" ? table.blockers : [])),
  ];
  const firstReasons = first === undefined ? undefined : reasonsForFirst(first, basis);
  return {
    format: 1,
    database: facts.database,
    server: facts.server,
    role: facts.role,
    basis,
    summary: summarize({ facts, basis, aggregates, tables, blockers }),
    ...(first === undefined
      ? {}
      : { first: { aggregate: first.proposal.name, reasons: firstReasons! } }),
    aggregates,
    tables,
    blockers,
    advice: adviceOf(facts, basis),
  };
}

interface Judged {
  readonly proposal: AggregateProposal;
  readonly root: TableReading;
  readonly children: readonly TableReading[];
  readonly judgement: Judgement;
}

/** The one that brings most for what it takes; of equals the first by name. */
function chooseFirst(judged: readonly Judged[]): Judged | undefined {
  const gain = ({ judgement }: Judged): number => judgement.worth * 2 - judgement.effort;
  return judged
    .filter(({ judgement }) => judgement.verdict === "migrate")
    .toSorted(
      (a, b) =>
        gain(b) - gain(a) ||
        b.judgement.worth - a.judgement.worth ||
        (a.proposal.name < b.proposal.name ? -1 : 1),
    )[0];
}

function reasonsForFirst({ proposal, judgement, root, children }: Judged, basis: Basis): string[] {
  const reasons = [...judgement.reasons];
  const { leaving } = proposal;
  reasons.push(
    leaving.length === 0
      ? "it refers to nothing outside itself"
      : `its ${leaving.length === 1 ? "one reference" : `${leaving.length} references`} to other aggregates stay ids: nothing else has to move with it`,
  );
  if (proposal.validTime !== undefined)
    reasons.push(`${proposal.validTime} says when a row changed`);
  if ([root, ...children].every(({ facts }) => facts.identityMend === undefined))
    reasons.push("every table of it has a key that the log can name rows by");
  if (root.rate.basis === "unknown")
    reasons.push(`by its structure alone: ${root.rate.remark ?? "its change rate is not known"}`);
  else if (basis.sample !== undefined && root.rate.basis === "sample")
    reasons.push(`judged by a sample of ${Math.round(basis.sample.seconds)} s`);
  return reasons;
}

function assessedAggregate(
  { proposal, root, children, judgement }: Judged,
  isFirst: boolean,
  circle: readonly string[],
): AssessedAggregate {
  const all = [root, ...children];
  return {
    name: proposal.name,
    verdict: isFirst ? "migrate-first" : judgement.verdict,
    reasons: judgement.reasons,
    root: proposal.root,
    children: proposal.children.map(({ table, role, parent, reasons }) => ({
      table,
      role,
      parent,
      reasons,
    })),
    boundary: proposal.reasons,
    ...(proposal.validTime === undefined ? {} : { validTime: proposal.validTime }),
    leaving: proposal.leaving.map(({ table, columns, references, enforced }) => ({
      table,
      columns,
      references,
      enforced,
    })),
    circle: circle.filter((name) => name !== proposal.name).slice(0, CIRCLE_MAX),
    worth: judgement.worth,
    effort: judgement.effort,
    rows: sumOf(all.map(({ facts }) => facts.rows)),
    bytes: all.reduce((sum, { facts }) => sum + facts.bytes, 0),
    changesPerDay: changesPerDay(all),
    cost: aggregateCost(root, children),
  };
}

function byOrder(a: AssessedAggregate, b: AssessedAggregate): number {
  return (
    VERDICTS.indexOf(a.verdict) - VERDICTS.indexOf(b.verdict) ||
    b.worth * 2 - b.effort - (a.worth * 2 - a.effort) ||
    (a.name < b.name ? -1 : 1)
  );
}

function assessedTable(reading: TableReading, aggregate: AssessedAggregate): AssessedTable {
  const { facts, rate, cost } = reading;
  const { verdict, reasons } = tableVerdict(reading, aggregate);
  const isPersonal = (column: string): boolean =>
    reading.roles.some(
      (r) => r.column === column && (r.role === "personal" || r.role === "secret"),
    );
  const transitions = [...(reading.sampled?.transitions ?? [])].filter(
    ([column]) =>
      !isPersonal(column) &&
      reading.roles.some(
        (role) =>
          role.column === column &&
          ["state", "flag", "soft-delete", "category"].includes(role.role),
      ),
  );
  return {
    name: facts.table.name,
    kind: facts.kind,
    aggregate: aggregate.name,
    verdict,
    reasons,
    ...(facts.rows === undefined ? {} : { rows: facts.rows }),
    bytes: facts.bytes,
    indexBytes: facts.indexBytes,
    changes: {
      basis: rate.basis,
      ...(rate.insertedPerDay === undefined ? {} : { insertedPerDay: rate.insertedPerDay }),
      ...(rate.updatedPerDay === undefined ? {} : { updatedPerDay: rate.updatedPerDay }),
      ...(rate.deletedPerDay === undefined ? {} : { deletedPerDay: rate.deletedPerDay }),
      ...(rate.remark === undefined ? {} : { remark: rate.remark }),
    },
    key: facts.primaryKey,
    uniqueKeys: facts.uniqueKeys,
    replicaIdentity: facts.table.replicaIdentity,
    partitions: facts.partitions,
    inherits: facts.inherits,
    triggers: facts.triggers,
    generatedLeftOut: facts.generatedLeftOut,
    columns: facts.columns.length,
    roles: reading.roles,
    transitions: Object.fromEntries(
      transitions.map(([column, steps]) => [column, Object.fromEntries(steps)]),
    ),
    historyIn: reading.historyIn,
    notes: reading.notes,
    blockers: reading.blockers,
    ...(cost.baselineBytes === undefined ? {} : { baselineBytes: cost.baselineBytes }),
    ...(cost.bytesPerDay === undefined
      ? {}
      : { bytesPerDay: { value: cost.bytesPerDay, atLeast: cost.atLeast } }),
  };
}

/** A child shares its aggregate's verdict, unless it is the one that is blocked, or waits for that one. */
function tableVerdict(
  { facts, blockers, nature }: TableReading,
  aggregate: AssessedAggregate,
): { verdict: Verdict; reasons: readonly string[] } {
  const { name } = facts.table;
  const isRoot = aggregate.root === name;
  const child = aggregate.children.find(({ table }) => table === name);
  if (aggregate.verdict === "blocked") {
    return blockers.length > 0
      ? { verdict: "blocked", reasons: blockers.map(({ text }) => text) }
      : {
          verdict: "later",
          reasons: [`part of ${aggregate.name}, of which another table is blocked`],
        };
  }
  if (isRoot) return { verdict: aggregate.verdict, reasons: aggregate.reasons };
  const own = nature.nature === "business" || nature.why === "" ? [] : [nature.why];
  return {
    verdict: aggregate.verdict,
    reasons: [`part of ${aggregate.name}: ${child!.reasons.join(", ")}`, ...own],
  };
}
