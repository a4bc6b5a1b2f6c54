import { expect, test } from "vitest";
import { ChangedStreams } from "../../src/verify/changed-streams.ts";
import type { VerifyOptions } from "../../src/verify/prepare.ts";
import type { StreamChanges } from "../../src/store/parity-store.ts";

const LIMIT = 5_000;
const NONE: ReadonlySet<string> = new Set();

function names(type: string, count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, n) => `${type}-${from + n}`);
}

/** What a store answers, one after the other; with the types that are asked for. */
function answering(
  answers: readonly Partial<StreamChanges>[],
  completed: ReadonlySet<string> = NONE,
): VerifyOptions & { readonly asked: (readonly string[])[] } {
  const left = [...answers];
  const asked: (readonly string[])[] = [];
  const parity = {
    changedSince(types: readonly string[]): Promise<StreamChanges> {
      asked.push(types);
      const { streams = [], ...given } = left.shift() ?? {};
      const { place = "1", end = place } = given;
      return Promise.resolve({ streams, total: streams.length, ...given, place, end });
    },
  };
  const store = { parity, reverse: { completed: () => Promise.resolve(completed) } };
  const streams = { account: {}, order: {} };
  return { store, streams, pipeline: "shop", asked } as never;
}

test("what changed is looked at, however much is not written back yet; what is left out is said until all is swept", async () => {
  const changed = new ChangedStreams();
  const late = new Set(names("order", LIMIT + 1_000));
  changed.swept({ late, unseen: NONE, untold: NONE }, NONE);
  expect(changed.reasons).toEqual([
    "1,000 aggregates whose decisions are not written back yet are left to the next sweep",
  ]);
  const streams = names("account", LIMIT);
  await changed.collect(answering([{ streams, total: LIMIT + 7 }]));
  const taken = changed.take();
  expect(taken.changed).toEqual(new Set(streams));
  expect(taken.late.size).toBe(LIMIT);
  changed.looked({ late: NONE, unseen: NONE, untold: NONE }, NONE);
  expect(changed.isEmpty).toBe(true);
  expect(changed.skipped).toBe(7);
  expect(changed.reasons[0]).toBe("7 changed aggregates are left to the next sweep");
  changed.take();
  changed.swept({ late: NONE, unseen: NONE, untold: NONE }, NONE);
  expect([changed.skipped, changed.reasons]).toEqual([0, []]);
});

test("what is complete is not asked for, and not looked at again for decisions that nobody writes back", async () => {
  const changed = new ChangedStreams();
  changed.swept({ late: new Set(["order-1", "account-1"]), unseen: NONE, untold: NONE }, NONE);
  const options = answering([{}], new Set(["order"]));
  await changed.collect(options);
  expect(options.asked).toEqual([["account"]]);
  expect(changed.take().late).toEqual(new Set(["account-1"]));
});

test("a look that comes to no end gives back what it took, beside what has changed since", async () => {
  const changed = new ChangedStreams();
  changed.swept({ late: new Set(["order-1"]), unseen: NONE, untold: NONE }, new Set(["order-9"]));
  const options = answering([{ streams: ["account-1"] }, { streams: ["account-1", "account-2"] }]);
  await changed.collect(options);
  const taken = changed.take();
  await changed.collect(options);
  changed.giveBack(taken);
  expect(changed.take()).toMatchObject({
    changed: new Set(["account-1", "account-2"]),
    late: new Set(["order-1"]),
    quarantined: new Set(["order-9"]),
  });
});

test("what the snapshot did not see yet, what was read anew meanwhile, and what waits in quarantine, are looked at next time", () => {
  const changed = new ChangedStreams();
  changed.looked(
    { late: NONE, unseen: new Set(["order-3"]), untold: new Set(["order-5"]) },
    new Set(["order-4"]),
  );
  expect(changed.take()).toMatchObject({
    changed: new Set(["order-3", "order-5"]),
    quarantined: new Set(["order-4"]),
  });
});

/** Looks one after the other; each collects what its first place shows, and then what its fence shows. */
async function passedBy(
  looks: readonly (readonly [before: Partial<StreamChanges>, behind: Partial<StreamChanges>])[],
  isSwept = true,
): Promise<readonly (string | undefined)[]> {
  const changed = new ChangedStreams();
  if (isSwept) changed.swept({ late: NONE, unseen: NONE, untold: NONE }, NONE);
  const options = answering(looks.flat());
  const passed: (string | undefined)[] = [];
  for (const [n] of looks.entries()) {
    await changed.collect(options);
    const taken = changed.take();
    const since = await changed.collect(options);
    passed.push(changed.passed(taken, `look ${n + 1}`, since));
  }
  return passed;
}

test("all that changed is looked at as of a look's own fence where nothing was stored since, and all was shown", async () => {
  const quiet = [{ place: "5" }, { place: "6" }] as const;
  expect(await passedBy([quiet])).toEqual(["look 1"]);
  expect(await passedBy([quiet], false)).toEqual([undefined]);
});

test("what was not shown at once is told by one more look, as soon as it is", async () => {
  const changed = new ChangedStreams();
  changed.swept({ late: NONE, unseen: NONE, untold: NONE }, NONE);
  const options = answering([
    { place: "5" },
    { place: "5", end: "7" },
    { place: "6", end: "8" },
    { place: "8" },
    { place: "8", end: "9" },
  ]);
  await changed.collect(options);
  expect(changed.hasPassed).toBe(false);
  const first = changed.take();
  expect(changed.passed(first, "look 1", await changed.collect(options))).toBeUndefined();
  await changed.collect(options);
  expect(changed.hasPassed).toBe(false);
  await changed.collect(options);
  expect(changed.hasPassed).toBe(true);
  const second = changed.take();
  expect(changed.passed(second, "look 2", await changed.collect(options))).toBe("look 1");
  expect(changed.hasPassed).toBe(false);
});

test("as of an earlier one where more comes all the time, once all of before that was shown", async () => {
  const streams = ["order-1"];
  expect(
    await passedBy([
      [{ place: "5" }, { place: "6", end: "8", streams }],
      // A transaction of the store is still open that began before.
      [{ place: "7" }, { place: "7", end: "9", streams }],
      [{ place: "8" }, { place: "10", end: "12", streams }],
      [{ place: "12" }, { place: "13", end: "13", streams }],
      [{ place: "14" }, { place: "14", end: "15" }],
    ]),
  ).toEqual([undefined, undefined, "look 1", "look 3", "look 4"]);
});
