import { expect, test } from "vitest";
import { openBank, startTraffic } from "../support/faults-bank.ts";
import { Capture, expectIntact, isNightly, openScene, seedOf } from "../support/faults-capture.ts";
import { randomFrom } from "../../examples/shop-postgres/traffic.ts";

/*
 * The network between the source and the capture breaks in the ways networks do. Whatever happens:
 * every change is one event, once, in order, and the capture is back by itself in bounded time.
 */

test("without any fault the events are the truth one to one", async () => {
  await using scene = await openScene(await openBank("plain"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("plain") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await capture.untilMore(300);
  const { events } = await expectIntact(scene, capture, traffic);
  expect(events).toBeGreaterThan(300);
  expect(capture.codes).toEqual([]);
});

test("a reset in the middle of the stream costs a retry and nothing else", async () => {
  await using scene = await openScene(await openBank("reset"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("reset") });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  for (let cut = 0; cut < 3; cut++) {
    await capture.untilMore();
    scene.toSource.cut();
    await capture.until(() => capture.retries.length > cut, "the reset to be noticed");
  }
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
  expect(new Set(capture.codes)).toContain("SOURCE_UNREACHABLE");
});

test("cuts after any number of bytes, again and again, neither lose nor repeat a change", async () => {
  const cuts = isNightly ? 400 : 15;
  const seed = seedOf("random cuts");
  const random = randomFrom(seed);
  await using scene = await openScene(await openBank("cuts"));
  await using traffic = startTraffic({
    url: scene.bank.db.url,
    seed,
    // Many cuts hold the capture up for long: it must be able to catch up afterwards.
    pauseMs: isNightly ? 20 : 4,
  });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  for (let cut = 0; cut < cuts; cut++) {
    // Small numbers hit the start of a connection, large ones the middle of a transaction.
    const before = capture.retries.length;
    const isCut = scene.toSource.cutAfter(Math.floor(10 ** (1 + random() * 3.7)));
    await capture.untilOver(isCut, before, `cut ${cut}`);
  }
  await capture.untilMore(10);
  await expectIntact(scene, capture, traffic);
}, 600_000);
