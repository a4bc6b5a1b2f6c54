import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ControlSession } from "../../connectors/postgres/control-session.ts";
import { openBank, startTraffic, type Bank } from "../support/faults-bank.ts";
import { Capture, expectIntact, openScene, seedOf } from "../support/faults-capture.ts";

/*
 * A connection that is there and says nothing: a stalled wire, a peer that is gone without a word, a
 * consumer that does not read. The server's own patience is set very low.
 */

const PATIENCE_MS = 700;
/** Where the server must not lose its patience with a capture that is merely busy, as the machine may be. */
const PATIENT_MS = 2_500;
/** Each session that is stuck has its own few seconds to end. */
const STOP_MS_MAX = 18_000;
/** Of a question to a server that is there. */
const ANSWER_MS_MAX = 2_000;

async function impatientBank(label: string, patienceMs = PATIENCE_MS): Promise<Bank> {
  const bank = await openBank(label);
  await bank.db.query(`ALTER DATABASE ${bank.db.name} SET wal_sender_timeout = '${patienceMs}ms'`);
  return bank;
}

test("a wire stalled beyond the server's patience is left for a new one, and nothing is lost", async () => {
  await using scene = await openScene(await impatientBank("stall"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("stall") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toSource.stall();
  await sleep(2.5 * PATIENCE_MS);
  scene.toSource.resume();
  await capture.untilRetry("SOURCE_UNREACHABLE");
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a source that vanished without a word is noticed by the watchdog in bounded time", async () => {
  await using scene = await openScene(await impatientBank("half open", PATIENT_MS));
  const { url } = scene.bank.db;
  await using traffic = startTraffic({ url, seed: seedOf("half open"), pauseMs: 20 });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  const since = performance.now();
  const before = capture.retries.length;
  scene.toSource.halfOpen();
  await capture.until(() => capture.retries.length > before, "the silence to be noticed");
  const { code, message } = capture.retries[before]!;
  expect(`${code} ${message}`).toMatch(/^SOURCE_UNREACHABLE .*silent for \d+ s/);
  // Twice the patience, and a tick or two.
  expect(performance.now() - since).toBeLessThan(8 * PATIENT_MS);
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("a slow store does not make the server take the capture for dead", async () => {
  await using scene = await openScene(await impatientBank("slow store", PATIENT_MS));
  await using traffic = startTraffic({
    url: scene.bank.db.url,
    seed: seedOf("slow store"),
    pauseMs: 5,
  });
  await using capture = new Capture(scene, {
    source: { bufferBytesMax: 65_536, partBytesMax: 32_768 },
    limits: { batchChangesMax: 100 },
  });
  await capture.untilTailing();
  await capture.untilMore();
  scene.toStore.stall();
  await sleep(2.5 * PATIENT_MS);
  scene.toStore.resume();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(capture.codes).toEqual([]);
});

test("a stalled source does not keep the capture from stopping", async () => {
  await using scene = await openScene(await openBank("stop"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("stop") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toSource.stall();
  await sleep(500);
  const since = performance.now();
  await capture.stop();
  expect(performance.now() - since).toBeLessThan(STOP_MS_MAX);
  scene.toSource.resume();
  await using again = new Capture(scene);
  await again.untilTailing();
  await again.untilMore();
  await expectIntact(scene, again, traffic);
});

test("a question that is not answered in time fails, and the next one goes another way", async () => {
  await using scene = await openScene(await openBank("control", 1));
  const url = scene.toSource.url(scene.bank.db.url);
  const control = new ControlSession(url, "control", undefined, ANSWER_MS_MAX);
  try {
    expect(await control.one("asking", "SELECT 1 AS n")).toEqual({ n: 1 });
    scene.toSource.halfOpen();
    await expect(control.query("asking", "SELECT 2 AS n")).rejects.toMatchObject({
      code: "SOURCE_UNREACHABLE",
      recovery: "retry",
    });
    expect(await control.one("asking", "SELECT 3 AS n")).toEqual({ n: 3 });
  } finally {
    await control.close();
  }
});
