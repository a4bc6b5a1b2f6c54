import { expect, test, vi } from "vitest";
import { budgetSeconds } from "../support/random-budget.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { breakThings } from "./faults.ts";
import { httpShop } from "./http-shop.ts";
import { openJournal } from "./journal.ts";
import { DeadProxies, moveAbout, type Moves } from "./mover.ts";
import { unexplained, workOnOrders } from "./order-history.ts";
import { settle } from "./settle.ts";
import { authorityProblems, nativeEvents, readSeen } from "./witness.ts";
import { openWorld, type World } from "./world.ts";

/*
 * Several clients work on the same few orders through the proxies, while these move on and back. What each
 * client saw must be explained by one order of all requests: as if each order were one thing, asked one
 * question after the other, wherever it is.
 */

const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 1_000_000));
const CLIENTS = 6;
const ORDERS = 4;
const PAUSE_MS_MAX = 60;
const SECONDS_MIN = budgetSeconds(15, 240);
const SECONDS_MORE_MAX = 150;
const SECONDS_BESIDE_MAX = 400;
const MOVES_MIN = 2;
const NATIVE_MIN = 50;
vi.setConfig({ testTimeout: (SECONDS_MIN + SECONDS_MORE_MAX + SECONDS_BESIDE_MAX) * 1_000 });

async function work(world: World, isBroken: boolean): Promise<void> {
  const { exitCode, stderr } = await world.banyan("verify");
  expect(exitCode, stderr).toBe(0);
  const random = seededRandom(SEED);
  const [working, moving] = [new AbortController(), new AbortController()];
  const dead = new DeadProxies();
  const tell = openJournal();
  const clients = workOnOrders(
    {
      random: seededRandom(SEED + 1),
      shops: world.proxyUrls.map(httpShop),
      ...{ clients: CLIENTS, orders: ORDERS, pauseMsMax: PAUSE_MS_MAX },
    },
    working.signal,
  );
  const isOver = AbortSignal.timeout(SECONDS_MIN * 1_000);
  const breaking = isBroken
    ? breakThings({ world, random, dead, tell }, isOver, moving.signal)
    : Promise.resolve();
  const isEnough = async ({ counts }: Moves): Promise<boolean> =>
    isOver.aborted &&
    ["promote done", "rollback done"].every((kind) => (counts.get(kind) ?? 0) >= MOVES_MIN) &&
    (await nativeEvents(world.store.database)) > NATIVE_MIN;
  const timer = setTimeout(() => moving.abort(), (SECONDS_MIN + SECONDS_MORE_MAX) * 1_000);
  try {
    const options = { world, random, isKilled: () => isBroken && !isOver.aborted, tell, isEnough };
    const moves = await moveAbout(options, dead, moving.signal);
    moving.abort();
    await breaking;
    working.abort();
    const histories = await clients;
    const operations = histories.flatMap((one) => one.operations);
    expect(unexplained(histories)).toEqual([]);
    await settle(world);
    expect(authorityProblems(await readSeen(world.store.database, world.accessLines()))).toEqual(
      [],
    );
    expect(moves.problems).toEqual([]);
    for (const kind of ["promote done", "rollback done"])
      expect(moves.counts.get(kind) ?? 0, kind).toBeGreaterThanOrEqual(MOVES_MIN);
    expect(await nativeEvents(world.store.database)).toBeGreaterThan(NATIVE_MIN);
    if (!isBroken) expect(operations.filter(({ output }) => output === undefined)).toEqual([]);
  } finally {
    clearTimeout(timer);
    moving.abort();
    working.abort();
    await Promise.allSettled([breaking, clients]);
  }
}

test(`clients of the same orders see one order of all that is done, while these move (seed ${SEED})`, async () => {
  await using world = await openWorld({
    seed: SEED,
    proxies: isNightly ? 2 : 1,
    areGatesLax: true,
  });
  await work(world, false);
});

test.runIf(isNightly)(
  `and while processes are killed and databases restarted (seed ${SEED})`,
  async () => {
    await using world = await openWorld({
      seed: SEED,
      proxies: 1,
      areGatesLax: true,
      isBroken: true,
    });
    await work(world, true);
  },
);
