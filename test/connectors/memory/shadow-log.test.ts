import { expect, test } from "vitest";
import { MemoryEventStore } from "../../../connectors/memory/event-store.ts";
import { MemoryShadowLog } from "../../../connectors/memory/shadow-log.ts";
import { shadowLogContract } from "../../contract/shadow-log.contract.ts";

test("writes are judged where they are told to", async () => {
  const store = new MemoryEventStore();
  const log = new MemoryShadowLog({ store: store.dual, pipeline: "shop" });
  const at = new Date(1_700_000_000_000);
  const write = {
    correlationId: "c1",
    streamType: "order",
    streamId: "order-7",
    route: "POST /orders/:id/pay",
    legacyStatus: 200,
    newStatus: undefined,
    askedAt: at,
    answeredAt: new Date(at.getTime() + 20),
  };
  await log.add([write], []);
  await log.add([write], []);
  const page = { answeredBefore: Infinity, after: undefined, windowMs: 0, limit: 9 };
  expect(await store.dual.waiting("shop", page)).toMatchObject([
    {
      write: {
        correlationId: "c1",
        stream: "order-7",
        askedAtMs: 1_700_000_000_000,
        answeredAtMs: 1_700_000_000_020,
      },
    },
  ]);
});

shadowLogContract("memory", () => {
  const log = new MemoryShadowLog();
  return Promise.resolve({
    log,
    writes: () => Promise.resolve(log.writes),
    samples: () => Promise.resolve(log.samples),
    [Symbol.asyncDispose]: () => log.close(),
  });
});
