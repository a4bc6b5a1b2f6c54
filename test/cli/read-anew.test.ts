import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { describeReadAnew, untilReadAnew } from "../../src/cli/read-anew.ts";
import { EventBuffer } from "../../src/mapping/event-buffer.ts";
import type { CaptureWriter, EventStore } from "../../src/store/event-store.ts";

const TAIL = { phase: "tail", checkpoint: undefined, ledger: {}, status: {} } as const;
const QUICK = { goneMsMax: 100, lookAtRunMs: 20, onLook: () => undefined };

/** A pipeline that some other process runs, with one stream to be read anew. */
async function asked(): Promise<{ store: EventStore; writer: CaptureWriter }> {
  const store = new MemoryEventStore();
  const writer = await store.openCapture("shop", "memory://1/1");
  await writer.commit(TAIL);
  await store.requestRebaseline("shop", ["order-1"], "why");
  return { store, writer };
}

test("of what was read anew no more is told than was, whatever became of the others", () => {
  const notReadAnew = [{ stream: "order-1", why: "its table is gone" }];
  const told = (asked: number, done: number, left: typeof notReadAnew = []): string =>
    describeReadAnew({ asked, readAnew: done, notReadAnew: left });
  expect(told(1, 1)).toBe("1 stream read anew");
  expect(told(3, 2, notReadAnew)).toBe("2 streams read anew");
  expect(told(1_500_000, 300_000, notReadAnew)).toBe(
    "300,000 streams read anew, 1,199,999 withdrawn or left to the new service",
  );
});

test("who waits for a run that has ended is told so, and what is next", async () => {
  const { store, writer } = await asked();
  await writer.commit({ ...TAIL, phase: "stopped" });
  await writer.close();
  const waiting = untilReadAnew(
    store,
    "shop",
    { ...QUICK, isOthers: () => true },
    AbortSignal.timeout(20_000),
  );
  await expect(waiting).rejects.toMatchObject({
    code: "PIPELINE_STOPPED",
    hint: expect.stringContaining("banyan run") as unknown,
  });
  expect(await store.rebaselineRequests("shop", "0", 1)).toHaveLength(1);
});

test("a run that is there is waited for until all is settled", async () => {
  const { store, writer } = await asked();
  await writer.commit({ ...TAIL, phase: "stopped" });
  let looks = 0;
  const onLook = (): void => void (looks += 1);
  const waiting = untilReadAnew(
    store,
    "shop",
    { ...QUICK, onLook, isOthers: () => true },
    AbortSignal.timeout(20_000),
  );
  // Longer than a run may be gone.
  await sleep(600);
  const [request] = await store.rebaselineRequests("shop", "0", 1);
  await writer.stage({ events: new EventBuffer(), refused: [request!.id] });
  await writer.commit(TAIL);
  await waiting;
  expect(looks).toBeGreaterThan(1);
});

test("an abort ends the wait, and a run of one's own is not looked for", async () => {
  const { store, writer } = await asked();
  await writer.close();
  const over = AbortSignal.timeout(800);
  await untilReadAnew(store, "shop", { ...QUICK, isOthers: () => false }, over);
  expect(over.aborted).toBe(true);
});
