import { expect, test } from "vitest";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { authorityProblems, type EventSeen, type RequestSeen, type Seen } from "./witness.ts";

/** Orders below bucket 5,000 move at 1,000 ms and go back at 2,000 ms, each time held for 100 ms before. */
const STAGES = [
  ["shadow", 0, undefined, 0],
  ["shadow", 0, { from: 0, to: 5_000 }, 900],
  ["canary", 5_000, undefined, 1_000],
  ["canary", 5_000, { from: 0, to: 5_000 }, 1_900],
  ["shadow", 0, { from: 0, to: 5_000 }, 2_000],
  ["shadow", 0, undefined, 2_050],
] as const;
const ids = Array.from({ length: 50 }, (_, n) => String(n + 1));
const MOVED = ids.find((id) => bucketOf(id, "salt") < 5_000)!;
const LEFT = ids.find((id) => bucketOf(id, "salt") >= 5_000)!;

function seen({ requests = [], events = [] }: Partial<Seen>): Seen {
  const stages = STAGES.map(([stage, share, held, atMs], n) => {
    return { epoch: n + 1, stage, share, salt: "salt", held, atMs };
  });
  return { stages, requests, events };
}

function pay(id: string, side: "legacy" | "new", epoch: number, ms: number): RequestSeen {
  const path = `/orders/${id}/pay`;
  const times = { calledAtMs: ms, answeredAtMs: ms + 50 };
  return { method: "POST", path, route: "/orders/:id/pay", side, epoch, ...times };
}

function event(
  id: string,
  version: number,
  origin: "capture" | "native",
  epoch: number,
): EventSeen {
  const transaction = origin === "capture" ? `${version}` : undefined;
  return { stream: `order-${id}`, version, origin, type: "OrderPaid", transaction, epoch };
}

test("what each side does in its own time is as it should be", () => {
  const requests = [
    pay(MOVED, "legacy", 1, 850),
    pay(LEFT, "legacy", 2, 990),
    pay(MOVED, "new", 3, 1_000),
    pay(MOVED, "legacy", 6, 2_060),
    { ...pay("", "new", 3, 1_500), path: "/orders", route: "/orders" },
  ];
  const events = [
    event(MOVED, 1, "capture", 1),
    event(MOVED, 2, "native", 3),
    event(MOVED, 3, "capture", 6),
    // Legacy may create what is new's from then on.
    event(
      ids.findLast((id) => bucketOf(id, "salt") < 5_000)!,
      1,
      "capture",
      3,
    ),
  ];
  expect(authorityProblems(seen({ requests, events }))).toEqual([]);
});

test.each<[string, Partial<Seen>]>([
  ["went to legacy", { requests: [pay(MOVED, "legacy", 3, 1_100)] }],
  ["went to new", { requests: [pay(LEFT, "new", 3, 1_100)] }],
  ["was not held back", { requests: [pay(MOVED, "legacy", 2, 910)] }],
  ["ms after epoch 3 took the order", { requests: [pay(MOVED, "legacy", 1, 980)] }],
  ["ms after epoch 5 took the order", { requests: [pay(MOVED, "new", 3, 1_970)] }],
  ["no such epoch", { requests: [pay(MOVED, "new", 9, 1_100)] }],
  [
    "was made by new",
    { requests: [{ ...pay("", "new", 6, 2_100), path: "/orders", route: "/orders" }] },
  ],
  ["native event at epoch 1", { events: [event(MOVED, 1, "native", 1)] }],
  [
    "capture event at epoch 3",
    { events: [event(MOVED, 1, "capture", 1), event(MOVED, 2, "capture", 3)] },
  ],
])("it is told that something %s", (says, what) => {
  expect(authorityProblems(seen(what))).toEqual([expect.stringContaining(says)]);
});
