import { afterAll, beforeAll, expect, test } from "vitest";
import { fillBank, openBank, startTraffic, type Bank } from "../../support/faults-bank.ts";
import { Capture, expectIntact, openScene, seedOf } from "../../support/faults-capture.ts";
import { startTestServer, type TestServer } from "../../support/faults-server.ts";

/*
 * The server of the source or of the store goes away and comes back, in good order and by a crash. The
 * capture waits for it, and does not keep it from going.
 */

/** Half of what a server waits for a reader of its log that says nothing. */
const STOP_MS_MAX = 30_000;

let server: TestServer;
let databases = 0;

beforeAll(async () => {
  server = await startTestServer(["-c", "wal_level=logical"]);
});

afterAll(() => server[Symbol.asyncDispose]());

async function ownBank(): Promise<Bank> {
  databases += 1;
  return await fillBank(await server.createDatabase(`bank_${databases}`));
}

for (const mode of ["fast", "immediate"] as const) {
  const how = mode === "fast" ? "restarted in good order" : "crashed and started again";

  test(`a source that is ${how} costs a wait and nothing else`, async () => {
    await using scene = await openScene(await ownBank());
    const { url } = scene.bank.db;
    await using traffic = startTraffic({ url, seed: seedOf(how), patient: true });
    await using capture = new Capture(scene);
    await capture.untilTailing();
    await capture.untilMore();
    const since = performance.now();
    await server.stop(mode);
    expect(performance.now() - since).toBeLessThan(STOP_MS_MAX);
    await capture.untilRetry("SOURCE_UNREACHABLE");
    await server.start();
    await capture.untilMore();
    await expectIntact(scene, capture, traffic);
    expect(new Set(capture.codes)).toEqual(new Set(["SOURCE_UNREACHABLE"]));
  });

  test(`a store that is ${how} costs a wait and nothing else`, async () => {
    databases += 1;
    const store = await server.createDatabase(`events_${databases}`);
    await using scene = await openScene(await openBank("restart"), store);
    await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf(how) });
    await using capture = new Capture(scene);
    await capture.untilTailing();
    await capture.untilMore();
    await server.stop(mode);
    await capture.untilRetry("STORE_UNREACHABLE");
    await server.start();
    await capture.untilMore();
    await expectIntact(scene, capture, traffic);
    expect(new Set(capture.codes)).toEqual(new Set(["STORE_UNREACHABLE"]));
  });
}

test("a capture whose store is stuck does not keep the source from shutting down", async () => {
  await using scene = await openScene(await ownBank());
  const { url } = scene.bank.db;
  await using traffic = startTraffic({ url, seed: seedOf("stuck"), patient: true });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toStore.stall();
  const since = performance.now();
  await server.stop("fast");
  expect(performance.now() - since).toBeLessThan(STOP_MS_MAX);
  await server.start();
  scene.toStore.resume();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});
