import { describe, expect, test } from "vitest";
import { explore, told } from "./explore.ts";
import { FAULTS, type Fault } from "./handover-fault.ts";
import { handover, type Handover } from "./handover-model.ts";
import type { Scenario } from "./handover-scenario.ts";
import { say, scenarioOf, STATES_MAX } from "./handover-sizes.ts";

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
  "kept before flushed": { scenario: scenarioOf("the source crashes", "full") },
  "chunk outlives the source": { scenario: scenarioOf("the source crashes", "full") },
  "read anew before seen": { scenario: scenarioOf("an aggregate is read anew", "full") },
  "read anew too early": {
    scenario: scenarioOf("a table joins an aggregate that is read anew", "full"),
  },
  "no wait for what began before": { scenario: scenarioOf("a table joins", "full") },
};

const USUAL: Handover = { scenario: scenarioOf("rows are updated", "full"), baseline: "chunks" };

describe("the model finds", () => {
  test.each(Object.entries(FAULTS) as [Fault, string][])("%s: %s", async (fault, meaning) => {
    const place = { ...USUAL, ...PLACES[fault] };
    const { states, counterexample } = await explore(handover({ ...place, fault }), STATES_MAX);
    expect(counterexample).toBeDefined();
    say(`${fault} (${meaning}), found among ${states} states:\n${told(counterexample!)}\n`);
    expect(counterexample!.broken).toMatch(EXPECTED[fault]);
  });
});

test("the model finds that an id which is used again passes for one that a chunk saw", async () => {
  const { scenario } = PLACES["kept before flushed"]!;
  const model = handover({ scenario, baseline: "chunks", fault: "kept before flushed" });
  // What the chunk holds and the source does not is found before.
  const lost: typeof model = {
    ...model,
    broken: (state, isStuck) => {
      const broken = model.broken(state, isStuck);
      return broken?.startsWith("LOST: what T2 did") === true ? broken : undefined;
    },
  };
  const { counterexample } = await explore(lost, STATES_MAX);
  expect(counterexample).toBeDefined();
  say(told(counterexample!));
  expect(counterexample!.trace.some((step) => step.startsWith("CRASH OF THE SOURCE"))).toBe(true);
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
  "end of chunk not awaited": /a change waits for its chunk before it is written/,
  "left out before visible": /LOST/,
  "no wait at the start": /LOST/,
  "former root ignored": /LOST/,
  "image overwritten": /LOST/,
  "image of what is held not kept":
    /T2: a row of lines is told to have been 0, but it was not there/,
  "chunk forgotten too early": /was told of T1, which its baseline holds already/,
  "judged anew when written": /a change waits for its chunk before it is written/,
  "fence before snapshot": /was told of T1, which its baseline holds already/,
  "kept before flushed": /folds to {"root":1}, but its rows are {"root":0}/,
  "chunk outlives the source": /folds to {"root":1}, but its rows are/,
  "read anew before seen": /LOST: aggregate 1 was told of T1, and read anew without it/,
  "read anew too early": /has events, but its chunk is not recorded/,
  "no wait for what began before": /LOST/,
};
