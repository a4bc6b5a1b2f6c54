import type { Handover } from "./handover-model.ts";
import { explore, told } from "./explore.ts";
import { handover } from "./handover-model.ts";
import { SCENARIOS, type Scenario, type ScenarioSource } from "./handover-scenario.ts";

export type Name = keyof typeof SCENARIOS;
export type Identity = Scenario["identity"];

export const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
export const STATES_MAX = 1_500_000;
export const NAMES = Object.keys(SCENARIOS) as Name[];
export const BOTH: readonly Identity[] = ["full", "default"];

/** Something dies or is given up once; nightly twice, and with all transactions of a history. */
const USUAL_SIZE = { isWhole: false, mishapsMax: 1 };
export const SIZE = isNightly ? { isWhole: true, mishapsMax: 2 } : USUAL_SIZE;

export function scenarioOf(name: Name, identity: Identity, size = USUAL_SIZE): Scenario {
  const { isWhole, mishapsMax } = size;
  const { usual, ...source }: ScenarioSource = SCENARIOS[name];
  const transactions = isWhole ? source.transactions : source.transactions.slice(0, usual);
  const isAhead = isWhole || source.isAhead === true;
  return { ...source, isAhead, transactions, identity, mishapsMax };
}

/** What is wrong with a history, if anything is. */
export async function tryAll(
  baseline: Handover["baseline"],
  name: Name,
  identity: Identity,
): Promise<string | undefined> {
  const scenario = scenarioOf(name, identity, SIZE);
  const model = handover({ scenario, baseline });
  const { states, depth, counterexample } = await explore(model, STATES_MAX);
  const { length } = scenario.transactions;
  say(`${baseline}, ${name}, ${length} transactions, mishaps ≤ ${SIZE.mishapsMax}, ${identity}: ${states} states, ${depth} steps deep`); // prettier-ignore
  return counterexample === undefined ? undefined : told(counterexample);
}

export function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
