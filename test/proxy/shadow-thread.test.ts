import { readdirSync, readFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import { startApp, startRawApp, until } from "./proxy-support.ts";
import { ask, startShadowProxy, type ShadowProxy } from "./shadow-support.ts";

const FAILING = new URL("failing-judge-thread.ts", import.meta.url);
const BODY = "an answer";

function answer(response: ServerResponse): void {
  response.end(BODY);
}

async function startFailing(shadow: object = {}, trial: object = {}) {
  const legacy = await startApp("legacy", (_, response) => answer(response));
  const fresh = await startApp("new", (_, response) => answer(response));
  const proxy = await startShadowProxy({
    legacy: legacy.port,
    new: fresh.port,
    shadow,
    trial: { thread: FAILING, ...trial },
  });
  return {
    proxy,
    fresh,
    async [Symbol.asyncDispose]() {
      await proxy[Symbol.asyncDispose]();
      expect(proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
      await legacy[Symbol.asyncDispose]();
      await fresh[Symbol.asyncDispose]();
    },
  };
}

/** A read, as its client sees it: the same whatever becomes of the thread. */
async function read(proxy: ShadowProxy, id: string): Promise<void> {
  const { status, body } = await ask(proxy, `/orders/${id}`);
  expect([status, body]).toEqual([200, BODY]);
}

describe("a thread that compares reads", () => {
  test.each([
    ["exit", "it ended"],
    ["throw", "a mistake"],
  ])("and is lost (%s) counts what it had once, and starts anew", async (poison, why) => {
    await using at = await startFailing();
    await read(at.proxy, "7");
    expect(await at.proxy.readsOf(1)).toMatchObject({ compared: 1 });
    await Promise.all([read(at.proxy, poison), read(at.proxy, "8")]);
    let beforeMs = performance.now();
    await until("it is lost", () => {
      if (at.proxy.shadow().threadsLost === 1) return true;
      beforeMs = performance.now();
      return false;
    });
    // It may have been lost before the other one had its answer.
    const { compared, uncompared, dropped } = at.proxy.reads();
    expect([compared + uncompared + dropped, uncompared > 0]).toEqual([3, true]);
    expect(at.proxy.shadow()).toMatchObject({ heldBytes: 0, underWay: 0 });
    expect(at.proxy.notes.at(-1)).toContain(`starts anew in 1 s: ${why}`);
    // Until then nothing is kept for it.
    await read(at.proxy, "9");
    const isInTime = performance.now() - beforeMs < 1_000;
    if (isInTime) expect(at.proxy.reads().dropped).toBe(dropped + 1);
    await sleep(1_000);
    await read(at.proxy, "10");
    const after = await at.proxy.readsOf(5);
    if (isInTime) expect(after).toMatchObject({ compared: compared + 1, dropped: dropped + 1 });
    else expect(after.compared).toBeGreaterThan(compared);
    // The answer that ended it was not handed over once more.
    expect(at.proxy.shadow().threadsLost).toBe(1);
    expect(at.fresh.received.filter(({ url }) => url === "/orders/10")).toHaveLength(1);
  });

  test("that an answer ends again and again starts anew ever more slowly", async () => {
    await using at = await startFailing();
    for (const [times, seconds] of [
      [1, 1],
      [2, 2],
    ] as const) {
      await read(at.proxy, "exit");
      await until("it is lost", () => at.proxy.shadow().threadsLost === times);
      expect(at.proxy.notes.at(-1)).toContain(`anew in ${seconds} s`);
      await sleep(seconds * 1_000);
    }
    await read(at.proxy, "7");
    expect(await at.proxy.readsOf(3)).toMatchObject({ compared: 1, uncompared: 2, dropped: 0 });
  });

  test("and hangs is ended, and clients see nothing of it", async () => {
    await using at = await startFailing({}, { silentMs: 8_000 });
    await read(at.proxy, "7");
    await at.proxy.readsOf(1);
    await read(at.proxy, "hang");
    for (let i = 0; i < 20; i++) await read(at.proxy, String(i));
    await until("it is lost", () => at.proxy.shadow().threadsLost === 1);
    expect(await at.proxy.readsOf(22)).toMatchObject({ compared: 1, uncompared: 21 });
  });

  test("and comes to a read too late does not ask for it, and counts it as dropped", async () => {
    await using at = await startFailing({ timeoutMs: 4_000 });
    await read(at.proxy, "7");
    await at.proxy.readsOf(1);
    await read(at.proxy, "pause");
    // Until it is handed over: it stands still for twice as long as another may wait.
    await sleep(100);
    for (let i = 0; i < 5; i++) await read(at.proxy, "late");
    // What it was asking for when it stood still may be late as well.
    expect((await at.proxy.readsOf(7)).dropped).toBe(5);
    expect(at.fresh.received.filter(({ url }) => url === "/orders/late")).toEqual([]);
    await read(at.proxy, "8");
    expect(await at.proxy.readsOf(8)).toMatchObject({ dropped: 5 });
  });

  // Four thousand reads take a while.
  const long = { timeout: 200_000 };
  test(
    "and takes nothing gets so many reads and no more: the others are dropped",
    long,
    async () => {
      await using at = await startFailing({ connectionsMax: 1 }, { silentMs: 180_000 });
      await read(at.proxy, "7");
      await at.proxy.readsOf(1);
      await read(at.proxy, "hang");
      const client = async (): Promise<void> => {
        for (let i = 0; i < 210; i++) await read(at.proxy, String(i));
      };
      await Promise.all(Array.from({ length: 20 }, client));
      expect(at.proxy.shadow()).toMatchObject({ underWay: 4_000 });
      expect(at.proxy.reads()).toMatchObject({ compared: 1, dropped: 201 });
    },
  );

  test.runIf(process.platform === "linux")("lets all other threads run first", async () => {
    const before = lastThreads();
    await using at = await startFailing();
    await read(at.proxy, "7");
    await at.proxy.readsOf(1);
    await until("its policy is set", () => lastThreads().idle > before.idle);
    const { idle, nice } = lastThreads();
    expect([idle - before.idle, nice - before.nice]).toEqual([1, 1]);
  });
});

/** Threads of this process that run only when nobody else does, and those of the lowest priority. */
function lastThreads(): { readonly idle: number; readonly nice: number } {
  const stats = readdirSync("/proc/self/task").map((id) => {
    const stat = statOf(id);
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  });
  // proc_pid_stat(5): the 19th field is the nice value, the 41st the policy, 5 of which is SCHED_IDLE.
  return {
    nice: stats.filter((fields) => fields[16] === "19").length,
    idle: stats.filter((fields) => fields[38] === "5").length,
  };
}

/** Empty for a thread that has just ended. */
function statOf(id: string): string {
  try {
    return readFileSync(`/proc/self/task/${id}/stat`, "utf8");
  } catch {
    return "";
  }
}

describe("clients wait no longer for a shadow that", () => {
  const CLIENTS = 4;
  const READS = 100;
  /** Beside the slowest of a hundred without a shadow. A client that waited for one would wait for longer, */
  const MORE_MS_MAX = 50;
  /** and each time; a machine that is busy with something else is so now and then. */
  const TRIES_MAX = 15;

  async function p99(fresh: number, reads: number): Promise<number> {
    await using legacy = await startApp("legacy", (_, response) => answer(response));
    await using proxy = await startShadowProxy({
      legacy: legacy.port,
      new: fresh,
      shadow: { reads, timeoutMs: 1_000 },
    });
    // Once, so that the thread is there.
    await read(proxy, "7");
    if (reads > 0) await proxy.readsOf(1);
    const tookMs: number[] = [];
    const client = async (): Promise<void> => {
      for (let i = 0; i < READS; i++) {
        const sentMs = performance.now();
        await read(proxy, String(i));
        tookMs.push(performance.now() - sentMs);
      }
    };
    await Promise.all(Array.from({ length: CLIENTS }, client));
    if (reads > 0) {
      const all = await proxy.readsOf(CLIENTS * READS + 1);
      expect(all.compared + all.uncompared + all.dropped).toBe(CLIENTS * READS + 1);
    }
    tookMs.sort((a, b) => a - b);
    return tookMs[Math.floor(tookMs.length * 0.99)]!;
  }

  test.each<[string, (response: ServerResponse) => void]>([
    ["agrees", answer],
    ["is slow", (response) => void setTimeout(() => answer(response), 300)],
    ["never answers", () => undefined],
    ["hangs up", (response) => void response.destroy()],
    ["errs", (response) => response.writeHead(500).end()],
    ["lies", (response) => response.end(`${BODY}, but another one`)],
    ["says a lot", (response) => response.end(Buffer.alloc(60_000))],
  ])("%s", { timeout: 180_000 }, async (_name, respond) => {
    await using fresh = await startRawApp((_, response) => respond(response));
    let moreMs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < TRIES_MAX && moreMs > MORE_MS_MAX; i++) {
      const none = await p99(fresh.port, 0);
      moreMs = (await p99(fresh.port, 1)) - none;
    }
    expect(moreMs).toBeLessThan(MORE_MS_MAX);
  });
});
