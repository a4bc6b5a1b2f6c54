import { describe, expect, test } from "vitest";
import { FOUND_DATABASES, loadDatabase, type FoundDatabase } from "../support/assess-databases.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { openPostgresSurvey } from "../../connectors/postgres/survey.ts";
import { assess } from "../../src/assess/assess.ts";
import type { Assessment } from "../../src/assess/assessment.ts";
import { proposeAggregates } from "../../src/assess/propose-aggregates.ts";
import { compileMapping, plannedTables } from "../../src/mapping/compile.ts";
import { child, stream, table } from "../../src/mapping/rules.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";

async function look(
  name: FoundDatabase,
  use: (facts: DatabaseFacts, url: string) => unknown,
): Promise<void> {
  await using db = await loadDatabase(name);
  const survey = openPostgresSurvey({ url: db.url });
  try {
    await use(await survey.facts(), db.url);
  } finally {
    await survey.close();
  }
}

/** Aggregates of a verdict, each with its tables. */
function of({ aggregates }: Assessment, verdict: string): string[] {
  return aggregates
    .filter((aggregate) => aggregate.verdict === verdict)
    .map(({ name, children }) => [name, ...children.map(({ role }) => role)].join(" + "))
    .toSorted();
}

describe.each(FOUND_DATABASES)("%s", (name) => {
  test("is proposed as streams that a mapping takes, on the tables as the source gives them", () =>
    look(name, async (facts, url) => {
      const { aggregates } = proposeAggregates(facts);
      const possible = aggregates.filter(
        ({ key, root }) =>
          key.length > 0 && facts.tables.find((one) => one.table.name === root)!.kind !== "foreign",
      );
      const streams = Object.fromEntries(
        possible.map((one) => [
          one.name,
          stream(
            table<Record<string, string>>(one.root, one.keyMustBeNamed ? { key: one.key } : {}),
            {
              children: Object.fromEntries(
                one.children.map((part) => [
                  part.role,
                  child(table<Record<string, string>>(part.table), part.parent),
                ]),
              ),
              otherwise: `${one.name}Amended`,
            },
          ),
        ]),
      );
      const source = openPostgresSource({ url, slot: "none", publication: "none" });
      try {
        const tables = plannedTables(streams);
        expect(tables.length).toBeGreaterThan(4);
        expect(compileMapping(streams, await source.discover(tables)).tables).toHaveLength(
          tables.length,
        );
      } finally {
        await source.close();
      }
    }));
});

test("of a film rental nothing is said that is not known, and lookups are left", () =>
  look("rental", (facts) => {
    const assessment = assess(facts);
    expect(of(assessment, "leave")).toEqual(["category", "city", "country", "language"]);
    expect(of(assessment, "later")).toContain("film + actor + category");
    expect(assessment.first).toBeUndefined();
    expect(assessment.aggregates.find(({ name }) => name === "staff")!.circle).toEqual(["store"]);
    expect(assessment.summary.rows).toEqual({ value: 45_803, atLeast: false });
  }));

test("of an ERP the order with its three levels comes first, and what has no key is blocked", () =>
  look("erp", (facts) => {
    const assessment = assess(facts);
    expect(of(assessment, "migrate-first")).toEqual(["order + position + positionSchedule"]);
    expect(of(assessment, "migrate")).toEqual(["customer", "invoice + lines"]);
    expect(of(assessment, "blocked")).toEqual(["dunning", "exchangeRate"]);
    expect(of(assessment, "leave")).toEqual([
      "client",
      "country",
      "currency",
      "ledgerEntry",
      "movement",
      "movementArchive",
      "orderHistory",
      "pickCache",
    ]);
    expect(assessment.first!.reasons.join()).toContain(
      "its history is kept already, in Sales.Order_History",
    );
  }));

test("of web frameworks' tables without foreign keys the orders are found, and the frameworks' own are left", () =>
  look("webshop", (facts) => {
    const assessment = assess(facts);
    expect([...of(assessment, "migrate-first"), ...of(assessment, "migrate")].toSorted()).toEqual([
      "billingSubscription",
      "order + items",
    ]);
    expect(of(assessment, "leave")).toEqual([
      "arInternalMetadata",
      "delayedJob",
      "djangoAdminLog",
      "djangoContentType",
      "djangoSession",
      "productTag",
      "schemaMigration",
      "tag",
      "version",
    ]);
  }));

test("of measurements everything is left, and it is said that this was not measured", () =>
  look("weather", (facts) => {
    const assessment = assess(facts);
    expect(assessment.summary.verdicts).toEqual({
      "migrate-first": 0,
      migrate: 0,
      later: 0,
      blocked: 0,
      leave: 6,
    });
    expect(assessment.summary.sentences.join(" ")).toContain(
      "nothing here needs event sourcing; how the rows change was not measured",
    );
    expect(assessment.blockers).toEqual([]);
  }));
