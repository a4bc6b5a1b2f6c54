import fc from "fast-check";
import { expect, test } from "vitest";
import { loadDraft, shapesOf } from "./draft-support.ts";
import { budget } from "../support/random-budget.ts";
import { randomFacts, randomSample } from "../support/random-facts.ts";
import { draft } from "../../src/draft/draft.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { jsonValueOf } from "../../src/draft/column-values.ts";
import type { BanyanError } from "../../src/model/errors.ts";
import { CODECS } from "../../src/model/codec.ts";
import type { DatabaseFacts, LogSample } from "../../src/source/database-facts.ts";

/** A database, with and without a sample of its log. */
const world: fc.Arbitrary<{ facts: DatabaseFacts; sample: LogSample | undefined }> =
  randomFacts.chain((facts) =>
    fc.record({
      facts: fc.constant(facts),
      sample: fc.option(randomSample(facts), { nil: undefined }),
    }),
  );

test(
  "whatever the database, the drafted files are read, and their mapping compiles as it was meant",
  { timeout: 600_000 },
  async () => {
    let drafted = 0;
    await fc.assert(
      fc.asyncProperty(world, async ({ facts, sample }) => {
        const made = draft(facts, { sample });
        if (made.config === undefined) return;
        drafted++;
        using loaded = await loadDraft(made);
        const { config, tables } = loaded;
        expect(Object.keys(tables)).toHaveLength(facts.tables.length);
        // Throws with a list of everything that does not fit.
        const mapping = compileMapping(config.streams, shapesOf(facts, config.streams));
        const meant = made.aggregates.map(({ proposal, rules, otherwise, baseline }) => [
          proposal.name,
          { rules: rules.map(({ event }) => event), otherwise, baseline },
        ]);
        const read = mapping.streams.map(({ type, rules, fallback, baselineType }) => [
          type,
          {
            rules: rules.map((rule) => rule.type),
            otherwise: fallback.type,
            baseline: baselineType,
          },
        ]);
        expect(Object.fromEntries(read)).toEqual(Object.fromEntries(meant));
      }),
      budget(40),
    );
    expect(drafted).toBeGreaterThan(10);
  },
);

test("no two events of a draft have one name, not even by case", () => {
  fc.assert(
    fc.property(world, ({ facts, sample }) => {
      const names = draft(facts, { sample }).aggregates.flatMap(
        ({ rules, otherwise, baseline }) => [
          ...rules.map(({ event }) => event),
          otherwise,
          baseline,
        ],
      );
      expect(new Set(names.map((name) => name.toLowerCase())).size).toBe(names.length);
      expect(names.filter((name) => !/^[A-Z][A-Za-z0-9]*$/.test(name))).toEqual([]);
    }),
    budget(300),
  );
});

test("every table is drafted or left out with a reason, and each can be asked for or is refused", () => {
  fc.assert(
    fc.property(world, ({ facts, sample }) => {
      const { aggregates, leftOut } = draft(facts, { sample });
      const told = [
        ...aggregates.flatMap(({ proposal, children }) => [
          proposal.root,
          ...children.map(({ table }) => table),
        ]),
        ...leftOut.map(({ table }) => table),
      ];
      expect(told.toSorted()).toEqual(facts.tables.map(({ table }) => table.name).toSorted());
      for (const { reasons, table, cause } of leftOut) {
        expect(reasons.every((reason) => reason.length > 5)).toBe(true);
        const asked = askedFor(facts, table);
        if (asked === "refused") continue;
        expect(cause).toBe("judged");
        expect(asked).toContain(table);
      }
    }),
    budget(100),
  );
});

/** The tables of a draft that was asked for one of them. */
function askedFor(facts: DatabaseFacts, table: string): readonly string[] | "refused" {
  try {
    return draft(facts, { tables: [table] }).aggregates.flatMap(({ proposal, children }) => [
      proposal.root,
      ...children.map((child) => child.table),
    ]);
  } catch (error) {
    expect((error as BanyanError).code).toBe("SOURCE_NOT_READY");
    const kind = facts.tables.find((one) => one.table.name === table)!.kind;
    expect(kind === "foreign" || (error as BanyanError).hint !== undefined).toBe(true);
    return "refused";
  }
}

test("no rule is claimed away by those before it: each fires for some change", () => {
  fc.assert(
    fc.property(world, ({ facts, sample }) => {
      for (const { rules } of draft(facts, { sample }).aggregates) {
        const fired = new Set<string>();
        for (const { table, on, when, anyOf } of rules) {
          if (on !== "update") continue;
          const what = JSON.stringify([table, when, anyOf]);
          expect(fired.has(what)).toBe(false);
          fired.add(what);
          const [only] = when;
          // Once any change of a column is claimed, no value of it can be.
          if (only !== undefined && only.becomes !== undefined)
            expect(fired.has(JSON.stringify([table, [{ column: only.column }], []]))).toBe(false);
        }
      }
    }),
    budget(200),
  );
});

test("a value in the draft is the very value that an event has", () => {
  fc.assert(
    fc.property(world, ({ facts }) => {
      for (const { table, columns } of facts.tables) {
        for (const { name, allowed } of columns) {
          const { codec, type } = table.columns.find((one) => one.name === name)!;
          for (const value of allowed ?? []) {
            const json = jsonValueOf(codec, type, value);
            if (json === undefined || codec === "bool") continue;
            expect(JSON.parse(CODECS[codec].toJson(CODECS[codec].fromJson(json)))).toEqual(json);
          }
        }
      }
    }),
    budget(100),
  );
});

test("the same facts give the same text", () => {
  fc.assert(
    fc.property(world, ({ facts, sample }) => {
      expect(draft(facts, { sample })).toEqual(draft(facts, { sample }));
    }),
    budget(20),
  );
});
