import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MoveModel, type Bug, type Command, type Disturbance } from "./move-model.ts";
import { budget } from "../support/random-budget.ts";
import { seededRandom } from "../support/seeded-random.ts";

const WHATS: readonly Disturbance["what"][] = [
  "partition",
  "heal",
  "kill-proxy",
  "start-proxy",
  "stop-capture",
  "stop-reverse",
  "start-all",
  "store-down",
  "store-up",
  "differs",
  "conflict",
  "equal",
  "second-operator",
];

const disturbance = fc.record({
  atMs: fc.integer({ min: 0, max: 4_000 }),
  what: fc.constantFrom(...WHATS),
});

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("move" as const),
      up: fc.boolean(),
      share: fc.constantFrom(100, 1_000, 5_000, 9_999),
      abandon: fc.integer({ min: 0, max: 7 }).map((n) => n === 0),
      crashAt: fc.constantFrom(99, 99, 99, 0, 1, 2, 3, 4, 5, 6, 7),
      disturbances: fc.array(disturbance, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.constantFrom(1_000, 6_000, 20_000),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("move" as const),
      up: fc.constant(false),
      share: fc.constantFrom(50, 2_000),
      abandon: fc.constant(false),
      crashAt: fc.constant(99),
      disturbances: fc.constant([{ atMs: 0, what: "stop-reverse" as const }]),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("move" as const),
      up: fc.constant(true),
      share: fc.constantFrom(3_000, 7_000),
      abandon: fc.constant(false),
      crashAt: fc.constant(99),
      disturbances: fc.constant([{ atMs: 0, what: "start-all" as const }]),
    }),
  },
);

const sequence = fc.tuple(fc.nat(), fc.array(command, { minLength: 2, maxLength: 12 }));

async function violationsOf(
  [seed, commands]: [number, readonly Command[]],
  bug?: Bug,
): Promise<readonly string[]> {
  const model = new MoveModel(seededRandom(seed), bug);
  await model.play(commands);
  return model.violations;
}

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
/** 300 sequences, 10,000 in the nightly budget. */
const RUNS = isNightly ? 400 : 300;
const MS_MAX = isNightly ? 1_200_000 : 60_000;

describe("moves at random, with crashes, cuts and other operators", () => {
  test(
    "have one authority per aggregate, lose nothing, and always end",
    { timeout: MS_MAX },
    async () => {
      await fc.assert(
        fc.asyncProperty(sequence, async (played) => {
          expect(await violationsOf(played)).toEqual([]);
        }),
        budget(RUNS),
      );
    },
  );

  const bugs: readonly Bug[] = [
    "no-acknowledgements",
    "no-fence",
    "no-reverse",
    "proxy-by-the-clock",
    "resumed-blindly",
    "no-comparison",
  ];
  test.each(bugs)("find the bug %s", { timeout: MS_MAX }, async (bug) => {
    const found: string[] = [];
    const property = fc.asyncProperty(sequence, async (played) => {
      found.push(...(await violationsOf(played, bug)));
      return found.length === 0;
    });
    // It ends with the first that is found.
    await fc.check(property, { ...budget(5 * RUNS), endOnFailure: true });
    expect(found).not.toEqual([]);
  });

  test("find the bug proxy-forgets-the-hold", { timeout: MS_MAX }, async () => {
    // It takes a cut between the acknowledgement of the first hold and its switch, and then a rest.
    const cut = fc.tuple(fc.nat(), fc.integer({ min: 1_000, max: 2_500 })).map(([seed, atMs]) => {
      const up = (share: number, ...disturbances: readonly Disturbance[]): Command => ({
        ...{ kind: "move", up: true, share, abandon: false, crashAt: 99, disturbances },
      });
      const played = [up(1), up(3_000, { atMs, what: "partition" })];
      const rest: Command = { kind: "wait", ms: 20_000 };
      return [seed, [...played, rest, up(9_000), rest]] as [number, readonly Command[]];
    });
    const found: string[] = [];
    const property = fc.asyncProperty(cut, async (played) => {
      expect(await violationsOf(played)).toEqual([]);
      found.push(...(await violationsOf(played, "proxy-forgets-the-hold")));
      return found.length === 0;
    });
    await fc.check(property, { ...budget(RUNS), endOnFailure: true });
    expect(found).toContain("legacy wrote to an aggregate that has moved");
  });
});
