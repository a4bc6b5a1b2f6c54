import fc from "fast-check";
import { expect, test } from "vitest";
import { lawStreams } from "../../src/laws/law-tables.ts";
import { ruleFindings } from "../../src/laws/rule-findings.ts";
import { tryLaws, type LawReport } from "../../src/laws/try-laws.ts";
import type { Mapping } from "../../src/mapping/compile.ts";
import type { Rule } from "../../src/mapping/rules.ts";
import { compile } from "../support/mapping-fixtures.ts";
import { budget } from "../support/random-budget.ts";
import { randomStreams } from "../support/random-mapping.ts";
import { eventsOf, randomMigration, runMigration } from "../support/random-migration.ts";
import { randomSchema } from "../support/random-schema.ts";

/*
 * Whatever a mapping's rules are, its events fold back into the rows: so the laws hold for every random
 * mapping, and what is said of its rules without trying them is true.
 */

const randomMapping = randomSchema().chain((schema) =>
  fc.record({ schema: fc.constant(schema), streams: randomStreams(schema) }),
);

function triedWith(mapping: Mapping, seed: number, runs: number): Promise<LawReport> {
  const options = { seed, runs, timeMsMax: 60_000, showValues: true };
  return tryLaws(mapping, lawStreams(mapping, []), options);
}

test("the laws hold for every mapping whose functions are right, and every rule that can fire does", async () => {
  let rulesMet = 0;
  await fc.assert(
    fc.asyncProperty(randomMapping, fc.nat(), async ({ schema, streams }, seed) => {
      const shapes = schema.tables.map(({ shape }) => shape);
      const mapping = compile(streams, shapes);
      const laws = lawStreams(mapping, []);
      const dead = new Set(
        ruleFindings(laws).flatMap(({ severity, rule }) => (severity === "error" ? rule! : [])),
      );
      const report = await triedWith(mapping, seed, 60);
      expect(report.findings).toEqual([]);
      const [tried] = report.streams;
      expect(tried).toMatchObject({ stream: "thing", histories: 60, rows: 0 });
      const met = new Set(Object.keys(tried!.events));
      expect([...dead].filter((rule) => met.has(rule))).toEqual([]);
      const { rules } = laws[0]!.plan;
      // What a function says of the rule, or of one before it, may leave it next to nothing.
      const decided = (of: Rule): boolean =>
        rules.some(
          ({ rule }) =>
            rule.where !== undefined && rule.on === of.on && rule.table.name === of.table.name,
        );
      const alive = rules.filter(({ type, rule }) => !dead.has(type) && !decided(rule));
      expect(alive.map(({ type }) => type).filter((type) => !met.has(type))).toEqual([]);
      rulesMet += alive.length;
    }),
    budget(60),
  );
  expect(rulesMet).toBeGreaterThan(20);
});

test("a rule that is said never to fire fires in no history that a whole pipeline captures", async () => {
  let dead = 0;
  await fc.assert(
    fc.asyncProperty(randomMigration({ transactionsMax: 12 }), async (migration) => {
      const shapes = migration.schema.tables.map(({ shape }) => shape);
      const findings = ruleFindings(lawStreams(compile(migration.streams, shapes), []));
      const never = new Set(
        findings.flatMap(({ severity, rule }) => (severity === "error" ? rule! : [])),
      );
      dead += never.size;
      const run = await runMigration(migration);
      await using _ = run.capture;
      const told = (await eventsOf(run.store)).map(({ type }) => type);
      expect(told.filter((type) => never.has(type))).toEqual([]);
    }),
    budget(100),
  );
  expect(dead).toBeGreaterThan(5);
});

test("the same seed tries the same histories", async () => {
  await fc.assert(
    fc.asyncProperty(randomMapping, fc.nat(), async ({ schema, streams }, seed) => {
      const mapping = compile(
        streams,
        schema.tables.map(({ shape }) => shape),
      );
      expect(await triedWith(mapping, seed, 10)).toEqual(await triedWith(mapping, seed, 10));
    }),
    budget(10),
  );
});
