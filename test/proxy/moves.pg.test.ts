import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import {
  exchangeRaw,
  ORDER_ROUTES,
  rawClient,
  startApp,
  statusOf,
  until,
  type TestApp,
} from "./proxy-support.ts";
import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { PostgresTrafficLog } from "../../connectors/postgres/traffic-log.ts";
import { startProxy, type RunningProxy } from "../../src/proxy/proxy.ts";
import type { ProxySettings } from "../../src/proxy/settings.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";

const JITI = join(import.meta.dirname, "../../node_modules/jiti/lib/jiti-cli.mjs");
/** What a client waits at most during a move that nothing slows down: shorter than a hold whose end nobody tells. */
const PAUSE_MS_MAX = 10_000;

let at: Awaited<ReturnType<typeof openTestStore>>;
let legacy: TestApp;
let fresh: TestApp;
/** Of legacy: answers to requests whose path has `slow` in it, which wait. */
const slow: ServerResponse[] = [];

beforeAll(async () => {
  at = await openTestStore("proxy_moves");
  const answer =
    (name: string) =>
    ({ url = "" }: IncomingMessage, response: ServerResponse) => {
      if (url.includes("slow")) slow.push(response);
      else response.end(`${name} ${url}`);
    };
  legacy = await startApp("legacy", answer("legacy"));
  fresh = await startApp("new", answer("new"));
});
afterAll(async () => {
  await legacy[Symbol.asyncDispose]();
  await fresh[Symbol.asyncDispose]();
  await at[Symbol.asyncDispose]();
});
beforeEach(async () => {
  for (const app of [legacy, fresh]) app.received.length = 0;
  slow.length = 0;
  await at.database.query("ALTER TABLE banyan.rollouts DISABLE TRIGGER rollouts_guard");
  await at.database.query("DELETE FROM banyan.rollouts; DELETE FROM banyan.proxies");
  await at.database.query("ALTER TABLE banyan.rollouts ENABLE TRIGGER rollouts_guard");
  await at.database.query(
    "INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt) VALUES ('shop', 'order', 'shadow', 's')",
  );
});

function settings(): ProxySettings {
  const upstream = (port: number) => ({
    url: `http://127.0.0.1:${port}`,
    connectionsMax: 128,
    connectMsMax: 10_000,
    responseMsMax: 20_000,
    idleMsMax: 20_000,
    healthEveryMs: 1_000,
  });
  return {
    listen: { host: "127.0.0.1", port: 0 },
    upstreams: { legacy: upstream(legacy.port), new: upstream(fresh.port) },
    routes: ORDER_ROUTES,
    trusted: [],
  };
}

/** Proxies with the state of the real store. */
async function proxies(count: number) {
  const opened: {
    state: PostgresRolloutState;
    traffic: PostgresTrafficLog;
    proxy: RunningProxy;
  }[] = [];
  const notes: string[][] = [];
  for (let n = 0; n < count; n++) {
    const own: string[] = [];
    notes.push(own);
    const onNote = (text: string): void => void own.push(text);
    const state = new PostgresRolloutState(at.database.url, "shop");
    const traffic = new PostgresTrafficLog(at.database.url, "shop");
    opened.push({
      state,
      traffic,
      proxy: await startProxy({ settings: settings(), state, traffic, onNote }),
    });
  }
  return {
    ports: opened.map(({ proxy }) => proxy.address.port),
    /** Waits until all of them have read this epoch. */
    know: (epoch: number): Promise<void> =>
      until(`epoch ${epoch} is known`, () =>
        notes.every((own) => own.some((text) => text.endsWith(`epoch ${epoch}`))),
      ),
    instances: opened.map(({ proxy }) => proxy.place.instance),
    async [Symbol.asyncDispose]() {
      for (const { proxy, state, traffic } of opened) {
        await proxy.close(AbortSignal.timeout(500));
        await state.close();
        await traffic.close();
      }
    },
  };
}

/** As an operator's move does it. @returns the epoch */
async function hold(seconds: number): Promise<number> {
  const { rows } = await at.database.query(
    `UPDATE banyan.rollouts SET held_from = 0, held_to = 10000, epoch = epoch + 1,
            held_until = clock_timestamp() + $1 * interval '1 s' RETURNING epoch::int`,
    [seconds],
  );
  return (rows as { epoch: number }[])[0]!.epoch;
}

async function switchTo(stage: string, epoch: number): Promise<boolean> {
  const { rowCount } = await at.database.query(
    `UPDATE banyan.rollouts SET stage = $1, share = 10000, held_from = NULL, held_to = NULL, held_until = NULL,
            epoch = epoch + 1 WHERE epoch = $2 AND held_until > clock_timestamp()`,
    [stage, epoch],
  );
  return rowCount === 1;
}

async function acknowledged(): Promise<Readonly<Record<string, number>>> {
  const { rows } = await at.database.query("SELECT instance, epoch::int FROM banyan.proxies");
  return Object.fromEntries(
    (rows as { instance: string; epoch: number }[]).map(({ instance, epoch }) => [instance, epoch]),
  );
}

async function eventually(what: string, isSo: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 45_000; !(await isSo()); await sleep(5))
    if (performance.now() > deadline) throw new Error(`not in time: ${what}`);
}

const put = (id: string): string =>
  `PUT /orders/${id} HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx`;
const idsOf = (app: TestApp): string[] => app.received.map(({ url }) => url.split("/").at(-1)!);

test("every proxy acknowledges a hold when its own writes have ended; what waited goes to the new side, once", async () => {
  await using both = await proxies(2);
  const clients = both.ports.map((port, n) => {
    const client = rawClient(port);
    client.send(put(`slow-${n}`));
    return client;
  });
  await until("both are under way", () => slow.length === 2);
  const epoch = await hold(30);
  const before = (await acknowledged())[both.instances[0]!];
  expect(before).toBe(epoch - 1);
  await both.know(epoch);
  const startedMs = performance.now();
  const asked = Array.from({ length: 100 }, (_, n) =>
    exchangeRaw(both.ports[n % 2]!, put(`held-${n}`)),
  );
  for (const n of [0, 1]) {
    await sleep(150);
    // The other one's ends change nothing for it.
    expect((await acknowledged())[both.instances[n]!]).toBe(epoch - 1);
    const mine = slow.findIndex(({ req }) => req.url === `/orders/slow-${n}`);
    slow[mine]!.end("late");
    await clients[n]!.until(/late$/);
    await eventually(
      "it is acknowledged",
      async () => (await acknowledged())[both.instances[n]!] === epoch,
    );
  }
  expect(idsOf(legacy).filter((id) => id.startsWith("held"))).toEqual([]);
  expect(await switchTo("new", epoch)).toBe(true);
  const switchedMs = performance.now();
  const answers = await Promise.all(asked);
  const endedMs = performance.now();
  expect(new Set(answers.map((text) => text.split("\r\n\r\n")[1]!.split(" ")[0]))).toEqual(
    new Set(["new"]),
  );
  expect(idsOf(fresh).toSorted()).toEqual(
    Array.from({ length: 100 }, (_, n) => `held-${n}`).toSorted(),
  );
  expect(idsOf(legacy).toSorted()).toEqual(["slow-0", "slow-1"]);
  expect(endedMs - switchedMs).toBeLessThan(PAUSE_MS_MAX);
  process.stdout.write(
    `held for ${Math.round(endedMs - startedMs)} ms, ${Math.round(endedMs - switchedMs)} ms of it after the switch\n`,
  );
});

test("under traffic no write is lost, none is at both sides, none is at the old side behind the switch", async () => {
  await using both = await proxies(2);
  let isOver = false;
  let sent = 0;
  let longestMs = 0;
  const answers = new Map<string, string>();
  const run = async (port: number): Promise<void> => {
    while (!isOver) {
      const id = `t${sent++}`;
      const startedMs = performance.now();
      const text = await exchangeRaw(port, put(id));
      longestMs = Math.max(longestMs, performance.now() - startedMs);
      answers.set(id, statusOf(text) === 200 ? text.split("\r\n\r\n")[1]!.split(" ")[0]! : text);
      await sleep(5);
    }
  };
  const clients = both.ports.flatMap((port) => Array.from({ length: 8 }, () => run(port)));
  const atSwitch: number[] = [];
  for (const stage of ["new", "legacy", "new"]) {
    await sleep(300);
    const epoch = await hold(30);
    await eventually("all have acknowledged", async () =>
      Object.values(await acknowledged()).every((said) => said >= epoch),
    );
    const old = stage === "new" ? legacy : fresh;
    const before = old.received.length;
    expect(await switchTo(stage, epoch)).toBe(true);
    atSwitch.push(old.received.length - before);
  }
  await sleep(300);
  isOver = true;
  await Promise.all(clients);
  expect(atSwitch).toEqual([0, 0, 0]);
  expect(new Set(answers.values())).toEqual(new Set(["legacy", "new"]));
  const got = [
    ...idsOf(legacy).map((id) => [id, "legacy"]),
    ...idsOf(fresh).map((id) => [id, "new"]),
  ];
  expect(got).toHaveLength(answers.size);
  expect(new Map(got as [string, string][])).toEqual(answers);
  expect(longestMs).toBeLessThan(PAUSE_MS_MAX);
  process.stdout.write(`${answers.size} writes, longest pause ${Math.round(longestMs)} ms\n`);
  await eventually("all are counted", async () => {
    const { rows } = await at.database.query(
      "SELECT sum(requests)::int AS count FROM banyan.traffic",
    );
    return (rows as { count: number }[])[0]!.count >= answers.size;
  });
});

test("a hold whose operator is gone is ended by one of the proxies, and what waited goes to the old side", async () => {
  await using both = await proxies(2);
  const log = "SELECT who, what, epoch::int FROM banyan.rollout_log";
  const before = (await at.database.query(log)).rows.length;
  // So long that each of them has read of it by then.
  const epoch = await hold(4);
  await both.know(epoch);
  const asked = Array.from({ length: 20 }, (_, n) => exchangeRaw(both.ports[n % 2]!, put(`h${n}`)));
  const startedMs = performance.now();
  const answers = await Promise.all(asked);
  expect(performance.now() - startedMs).toBeLessThan(PAUSE_MS_MAX);
  expect(new Set(answers.map(statusOf))).toEqual(new Set([200]));
  expect([idsOf(legacy).length, idsOf(fresh).length]).toEqual([20, 0]);
  expect(new Set(legacy.received.map(({ headers }) => headers["banyan-epoch"]))).toEqual(
    new Set([String(epoch + 1)]),
  );
  expect((await at.database.query(log)).rows.slice(before)).toEqual([
    { who: expect.stringMatching(/^proxy /) as unknown, what: "hold ended", epoch: epoch + 1 },
  ]);
  // The operator comes back: too late.
  expect(await switchTo("new", epoch)).toBe(false);
});

test("a proxy that is killed during a hold sends nothing of what it held, and its name stays; the others go on", async () => {
  await using one = await proxies(1);
  await using victim = await startChild();
  await eventually("it is there", async () => victim.instance in (await acknowledged()));
  const epoch = await hold(8);
  await eventually("both have acknowledged", async () =>
    Object.values(await acknowledged()).every((said) => said === epoch),
  );
  const lost = rawClient(victim.port);
  lost.send(put("lost"));
  const kept = exchangeRaw(one.ports[0]!, put("kept"));
  await sleep(300);
  victim.child.kill("SIGKILL");
  expect(await lost.closed()).toBe("");
  expect(statusOf(await kept)).toBe(200);
  expect(idsOf(legacy)).toEqual(["kept"]);
  const next = await hold(30);
  await eventually("the other has", async () => (await acknowledged())[one.instances[0]!] === next);
  // Whoever moves sees which proxy is missing, and since when.
  expect((await acknowledged())[victim.instance]).toBeLessThan(next);
  const silent = async (): Promise<readonly { place: string }[]> => {
    const { rows } = await at.database.query(
      `SELECT silent.place FROM banyan.proxies silent, banyan.proxies other
        WHERE silent.instance = $1 AND other.instance = $2
          AND silent.seen_at < other.seen_at - interval '1 s'`,
      [victim.instance, one.instances[0]],
    );
    return rows as { place: string }[];
  };
  await eventually("it is known to be silent", async () => (await silent()).length > 0);
  expect(await silent()).toEqual([
    { place: expect.stringContaining(String(victim.child.pid)) as unknown },
  ]);
});

async function startChild(): Promise<
  AsyncDisposable & { child: ChildProcess; port: number; instance: string }
> {
  const script = join(import.meta.dirname, "proxy-child.ts");
  const child = spawn(
    process.execPath,
    [JITI, script, at.database.url, JSON.stringify(settings())],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const [line] = (await once(createInterface(child.stdout), "line")) as [string];
  const { port, instance } = JSON.parse(line) as { port: number; instance: string };
  return {
    child,
    port,
    instance,
    async [Symbol.asyncDispose]() {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}
