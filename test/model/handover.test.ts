import { describe, expect, test } from "vitest";
import { explore, told } from "./explore.ts";
import { FAULTS, type Fault } from "./handover-fault.ts";
import { handover, type Handover } from "./handover-model.ts";
import { SCENARIOS, type Scenario } from "./handover-scenario.ts";

type Name = keyof typeof SCENARIOS;
type Identity = Scenario["identity"];

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const STATES_MAX = 1_500_000;
const names = Object.keys(SCENARIOS) as Name[];

/** The process dies or gives up a chunk once; nightly twice, and with all transactions of a scenario. */
const USUAL_SIZE = { isWhole: false, mishapsMax: 1 };
const SIZE = isNightly ? { isWhole: true, mishapsMax: 2 } : USUAL_SIZE;

function scenarioOf(name: Name, identity: Identity, size = USUAL_SIZE): Scenario {
  const { isWhole, mishapsMax } = size;
  const { rows, transactions, usual } = SCENARIOS[name];
  const some = isWhole ? transactions : transactions.slice(0, usual);
  return { rows, transactions: some, identity, mishapsMax };
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

describe.each(["chunks", "exported"] as const)("a baseline by %s", (baseline) => {
  describe.each(names)("while %s", (name) => {
    test.each(["full", "default"] as const)(
      `neither loses nor repeats a change in any order of steps and ${SIZE.mishapsMax} mishaps, replica identity %s`,
      { timeout: 600_000 },
      (identity) => {
        const scenario = scenarioOf(name, identity, SIZE);
        const { states, depth, counterexample } = explore(
          handover({ scenario, baseline }),
          STATES_MAX,
        );
        const { length } = scenario.transactions;
        say(`${baseline}, ${name}, ${length} transactions, mishaps ≤ ${SIZE.mishapsMax}, ${identity}: ${states} states, ${depth} steps deep`); // prettier-ignore
        if (counterexample !== undefined) expect.fail(told(counterexample));
      },
    );
  });
});

/** Where a fault shows that does not do harm to every history. */
const PLACES: Partial<Record<Fault, Partial<Handover> & { readonly scenario: Scenario }>> = {
  "slot before publication": {
    scenario: scenarioOf("rows are updated", "full"),
    baseline: "exported",
  },
  "former root ignored": { scenario: scenarioOf("a key changes, and changes back", "full") },
  "image overwritten": {
    scenario: scenarioOf("a child moves to another parent, and back", "default"),
  },
  "image of what is held not kept": {
    scenario: scenarioOf("a child moves to another parent, and back", "default"),
  },
};

const USUAL: Handover = { scenario: scenarioOf("rows are updated", "full"), baseline: "chunks" };

describe("the model finds", () => {
  test.each(Object.entries(FAULTS) as [Fault, string][])("%s: %s", (fault, meaning) => {
    const place = { ...USUAL, ...PLACES[fault] };
    const { states, counterexample } = explore(handover({ ...place, fault }), STATES_MAX);
    expect(counterexample).toBeDefined();
    say(`${fault} (${meaning}), found among ${states} states:\n${told(counterexample!)}\n`);
    expect(counterexample!.broken).toMatch(EXPECTED[fault]);
  });
});

/** What a fault does: that something else broke would say nothing about it. */
const EXPECTED: Record<Fault, RegExp> = {
  "drop rule left out": /was told of T1, which its baseline holds already/,
  "checkpoint before append": /LOST/,
  "slot before publication": /LOST/,
  "drop by log position": /LOST/,
  "acknowledge before append": /acknowledged to 1, but durable only to 0/,
  "chunk progress before events": /folds to {}, but its rows are {"root":0}/,
  "chunk events before progress": /has events, but its chunk is not recorded/,
  "stream not held back": /has events, but its chunk is not recorded/,
  "end of chunk not awaited": /to be written while a chunk is awaited/,
  "left out before visible": /LOST/,
  "no wait at the start": /LOST/,
  "former root ignored": /LOST/,
  "image overwritten": /LOST/,
  "image of what is held not kept": /LOST/,
  "chunk forgotten too early": /was told of T1, which its baseline holds already/,
  "judged anew when written": /to be written while a chunk is awaited/,
};
