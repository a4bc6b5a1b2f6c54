import { expect, test } from "vitest";
import { AsOfSnapshot } from "../../src/verify/as-of-snapshot.ts";
import { changePosition } from "../../src/model/position.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";

const SNAPSHOT = {
  sees: (transaction: string) => transaction !== "9",
  applied: () => Promise.resolve(new Map([["order-1", 2]])),
  begin: changePosition("0000000000000010", 1),
};

function event(stream: string, version: number, more: Partial<FoldEvent>): FoldEvent {
  return { stream, version, mappingVersion: 1, origin: "capture", ...more } as FoldEvent;
}

/** Which of them are in the rows. */
async function included(asOf: AsOfSnapshot, events: readonly FoldEvent[]): Promise<boolean[]> {
  const all: boolean[] = [];
  const pages = (async function* () {
    yield events;
  })();
  for await (const page of asOf.ready(pages)) all.push(...page.map((one) => asOf.includes(one)));
  return all;
}

test("decisions that are not written back are late, but for stream types of which nothing is any more", async () => {
  const events = [
    event("order-1", 2, { origin: "native" }),
    event("order-2", 1, { origin: "native" }),
    event("basket-1", 1, { origin: "import" }),
  ];
  const all = new AsOfSnapshot(SNAPSHOT);
  expect(await included(all, events)).toEqual([true, false, false]);
  expect(all.late).toEqual(new Set(["order-2", "basket-1"]));
  const completed = new AsOfSnapshot(SNAPSHOT, new Set(["basket"]));
  expect(await included(completed, events)).toEqual([true, false, false]);
  expect(completed.late).toEqual(new Set(["order-2"]));
});

test("events of transactions that the snapshot does not see are left out, and their streams told", async () => {
  const asOf = new AsOfSnapshot(SNAPSHOT);
  const events = [
    event("order-1", 1, { sourceTransaction: "8" }),
    event("order-2", 1, { sourceTransaction: "9" }),
    event("order-3", 1, { sourceTransaction: "9" }),
    event("order-4", 1, {}),
  ];
  expect(await included(asOf, events)).toEqual([true, false, false, true]);
  expect(asOf.unseen).toEqual(new Set(["order-2", "order-3"]));
});
