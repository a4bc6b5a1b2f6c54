import fc from "fast-check";
import { expect, test } from "vitest";
import { typecheck } from "./typecheck.ts";
import { databaseFacts } from "../support/database-facts.ts";
import { randomFacts } from "../support/random-facts.ts";
import { draft } from "../../src/draft/draft.ts";

const DRAFTS = process.env["BANYAN_TEST_BUDGET"] === "nightly" ? 500 : 40;

test(
  "drafted files compile under the strictest options, whatever the database",
  { timeout: 300_000 },
  () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 2 ** 31);
    const drafts = fc
      .sample(randomFacts, { numRuns: DRAFTS, seed })
      .map((facts, i) => [`d${i}`, draft(facts)] as const)
      .filter(([, { config }]) => config !== undefined);
    expect(drafts.length).toBeGreaterThan(10);
    expect(typecheck(Object.fromEntries(drafts)), `BANYAN_TEST_SEED=${seed}`).toEqual([]);
  },
);

test(
  "a slip of the hand in a drafted file is an error of the compiler, at its place",
  { timeout: 120_000 },
  () => {
    const facts = databaseFacts(
      {
        orders: {
          columns: {
            id: "int8",
            status: { type: "text", allowed: ["new", "paid", "sent"], default: "'new'::text" },
            paid_at: "timestamptz?",
            updated_at: "timestamptz",
          },
        },
        lines: {
          columns: { order_id: "int8", no: "int8", amount: "numeric(10,2)" },
          key: ["order_id", "no"],
        },
      },
      [{ table: "lines", columns: ["order_id"], references: "orders", onDelete: "cascade" }],
    );
    const good = draft(facts);
    const slip = (from: string, to: string) => {
      expect(good.config).toContain(from);
      return { ...good, config: good.config!.replace(from, to) };
    };
    const said = typecheck({
      good,
      value: slip(`becomes("paid")`, `becomes("payed")`),
      column: slip(`data: ["paid_at"`, `data: ["paid_on"`),
      link: slip(`{ order_id: "id" }`, `{ oder_id: "id" }`),
      time: slip(`validTime: "updated_at"`, `validTime: "update_at"`),
      null: slip(`becomes("sent")`, `becomes(null)`),
    });
    expect(said.map((line) => line.slice(0, line.indexOf("/"))).toSorted()).toEqual([
      "column",
      "link",
      "null",
      "time",
      "value",
    ]);
  },
);
