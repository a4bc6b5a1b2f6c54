import { expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "./json-shape.ts";
import type { Assessment } from "../../src/assess/assessment.ts";
import type { DemoDocument } from "../../src/cli/demo/demo.ts";

/*
 * Documents that are dear to make (a demo takes a minute), or that have too many forms to bring about
 * all of them: the compiler sees that a sample has every field of the type, the test that the page has
 * the same ones.
 */

/** A type with nothing left out, so that a field which is new is missed here. */
type Full<T> = T extends readonly (infer Item)[]
  ? readonly Full<Item>[]
  : T extends object
    ? { readonly [Name in keyof T]-?: Full<T[Name]> }
    : T;

test("the page has every field of a demo's document", () => {
  const document: Full<DemoDocument> = {
    rows: 1,
    baselined: 1,
    changes: 1,
    events: 1,
    killedAndResumed: true,
    lagSeconds: 0,
    parity: { state: "equal", compared: 1, missing: 0, extra: 0, different: 0 },
    rates: { baselineRowsPerSecond: 1, changesPerSecond: 1, catchUpChangesPerSecond: 1 },
    rollout: {
      stagesReached: ["legacy"],
      dual: { pass: 1, fail: 1, inconclusive: 1 },
      caught: { pass: 1, fail: 1, inconclusive: 1 },
      shadow: { compared: 1, different: 1, dropped: 1 },
      rolledBackInSeconds: 1,
      requests: 1,
      acknowledgedWrites: 1,
      clientErrors: 1,
      lostWrites: 1,
      staleReads: 1,
      slowestMs: 1,
    },
  };
  const documented = documentedShape("demo");
  expect(listed(printedShape([document], documented))).toEqual(listed(documented));
});

test("the page has every field of an assessment", () => {
  const documented = documentedShape("assess");
  const { leaves } = printedShape([ASSESSMENT], documented);
  expect([...leaves.keys()].sort()).toEqual([...documented.leaves.keys()].sort());
});

test("what the page calls optional in an assessment is what the type calls so", () => {
  const { first: _first, basis, aggregates, tables, blockers, ...rest } = ASSESSMENT;
  const { countedSeconds: _c, sample: _s, sampleRefused: _r, ...leanBasis } = basis;
  const { validTime: _v, ...aggregate } = aggregates[0]!;
  const { rows: _rows, baselineBytes: _b, bytesPerDay: _p, changes, ...table } = tables[0]!;
  const { table: _t, sql: _sql, ...blocker } = blockers[0]!;
  const lean: Assessment = {
    ...rest,
    basis: leanBasis,
    aggregates: [aggregate],
    tables: [{ ...table, changes: { basis: changes.basis } }],
    blockers: [blocker],
  };
  const documented = documentedShape("assess");
  const { optional } = printedShape([lean], documented);
  expect([...optional].sort()).toEqual([...documented.optional].sort());
});

const SUM = { value: 1, atLeast: false };
const COST = {
  rows: SUM,
  baselineEvents: SUM,
  baselineBytes: SUM,
  baselineSeconds: SUM,
  bytesPerDay: SUM,
};
const BLOCKER = { table: "t", severity: "error", code: "c", text: "x", sql: "SELECT" } as const;
const ASSESSMENT: Full<Assessment> = {
  format: 1,
  database: "d",
  server: "s",
  role: "r",
  basis: {
    countedSeconds: 1,
    sample: { seconds: 1, transactions: 1, changes: 1, bytes: 1 },
    sampleRefused: "x",
    neverAnalysed: ["t"],
    unreadable: ["t"],
  },
  summary: {
    tables: 1,
    aggregates: 1,
    rows: SUM,
    bytes: 1,
    changesPerDay: SUM,
    verdicts: { "migrate-first": 1, migrate: 0, later: 0, blocked: 0, leave: 0 },
    migrating: COST,
    leaving: COST,
    sentences: ["x"],
  },
  first: { aggregate: "a", reasons: ["x"] },
  aggregates: [
    {
      name: "a",
      verdict: "migrate-first",
      reasons: ["x"],
      root: "t",
      children: [{ table: "u", role: "us", parent: { t_id: "id" }, reasons: ["x"] }],
      boundary: ["x"],
      validTime: "updated_at",
      leaving: [{ table: "u", columns: ["c"], references: "v", enforced: true }],
      circle: ["b"],
      worth: 1,
      effort: 1,
      rows: SUM,
      bytes: 1,
      changesPerDay: SUM,
      cost: COST,
    },
  ],
  tables: [
    {
      name: "t",
      kind: "table",
      aggregate: "a",
      verdict: "migrate-first",
      reasons: ["x"],
      rows: 1,
      bytes: 1,
      indexBytes: 1,
      changes: {
        basis: "statistics",
        insertedPerDay: 1,
        updatedPerDay: 1,
        deletedPerDay: 1,
        remark: "x",
      },
      key: ["id"],
      uniqueKeys: [["c"]],
      replicaIdentity: "default",
      partitions: ["t"],
      inherits: ["t"],
      triggers: ["g"],
      generatedLeftOut: ["c"],
      columns: 1,
      roles: [{ column: "c", role: "state", why: "x", values: ["v"] }],
      transitions: { c: { "old → new": 1 } },
      historyIn: ["h"],
      notes: [{ code: "c", text: "x" }],
      blockers: [BLOCKER],
      baselineBytes: 1,
      bytesPerDay: SUM,
    },
  ],
  blockers: [BLOCKER],
  advice: ["x"],
};
