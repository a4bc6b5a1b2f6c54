import { expect, test } from "vitest";
import { bankStreams, HOLD_TRAFFIC, openBank, startTraffic } from "../support/faults-bank.ts";
import { expectExactEvents } from "../support/faults-truth.ts";
import {
  Capture,
  expectIntact,
  openScene,
  openStoreOf,
  parityOf,
  PIPELINE,
  seedOf,
  type Scene,
} from "../support/faults-capture.ts";

/*
 * Tables are altered while they are written to and read. The log tells of the new shape with the next
 * change, in the middle of a transaction if need be.
 */

const TOUCH =
  "UPDATE account SET owner = owner || '!' WHERE id % 3 = 0; UPDATE entry SET amount = amount + 1 WHERE account_id % 3 = 0;";

/** Alters between writes on both sides: in transactions of their own, then within one. */
async function expectIntactAfter(
  scene: Scene,
  label: string,
  steps: readonly (readonly [outside: string, inside: string])[],
): Promise<Capture> {
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf(label) });
  await using capture = new Capture(scene);
  await capture.untilTailing();
  for (const [outside, inside] of steps) {
    await capture.untilMore(20);
    await bank.db.query(`BEGIN; ${HOLD_TRAFFIC}; ${outside}; COMMIT`);
    await capture.untilMore(20);
    await bank.db.query(`BEGIN; ${HOLD_TRAFFIC}; ${TOUCH} ${inside}; ${TOUCH} COMMIT`);
  }
  await capture.untilMore(20);
  await expectIntact(scene, capture, traffic);
  expect(capture.codes).toEqual([]);
  return capture;
}

test("columns added under traffic and in the middle of a transaction are told", async () => {
  await using scene = await openScene(await openBank("add"));
  const { drift } = await expectIntactAfter(scene, "add", [
    [
      "ALTER TABLE account ADD nick text; ALTER TABLE entry ADD nick text; UPDATE account SET nick = 'n' || id; UPDATE entry SET nick = 'n' || no",
      "ALTER TABLE account ADD age int; ALTER TABLE entry ADD age int; UPDATE account SET age = id; UPDATE entry SET age = no",
    ],
  ]);
  const added = drift.flatMap((note) => note.added.map((name) => `${note.table}.${name}`));
  expect(added.toSorted()).toEqual([
    "public.account.age",
    "public.account.nick",
    "public.entry.age",
    "public.entry.nick",
  ]);
});

test("columns dropped under traffic and in the middle of a transaction are gone from then on", async () => {
  await using scene = await openScene(await openBank("drop"));
  const { drift } = await expectIntactAfter(scene, "drop", [
    [
      "ALTER TABLE account DROP branch; ALTER TABLE entry DROP kind",
      "ALTER TABLE account DROP points; ALTER TABLE entry DROP points",
    ],
  ]);
  expect(drift.flatMap(({ dropped }) => dropped).toSorted()).toEqual([
    "branch",
    "kind",
    "points",
    "points",
  ]);
});

test("columns renamed under traffic and in the middle of a transaction keep their values", async () => {
  await using scene = await openScene(await openBank("rename"));
  await expectIntactAfter(scene, "rename", [
    [
      "ALTER TABLE account RENAME branch TO office; ALTER TABLE entry RENAME kind TO sort",
      "ALTER TABLE account RENAME points TO score; ALTER TABLE entry RENAME points TO score",
    ],
  ]);
});

test("columns given a wider type under traffic and in the middle of a transaction keep their values", async () => {
  await using scene = await openScene(await openBank("type"));
  await expectIntactAfter(scene, "type", [
    [
      "ALTER TABLE account ALTER points TYPE bigint; ALTER TABLE entry ALTER points TYPE bigint",
      "ALTER TABLE account ALTER branch TYPE varchar(40); ALTER TABLE entry ALTER kind TYPE varchar(40)",
    ],
    // The key's own text stays, although its JSON form becomes another.
    ["ALTER TABLE entry ALTER no TYPE bigint", "ALTER TABLE account ALTER id TYPE bigint"],
  ]);
});

test("columns added with a default give it to the rows that were there", async () => {
  await using scene = await openScene(await openBank("default"));
  await expectIntactAfter(scene, "default", [
    [
      "ALTER TABLE account ADD region text NOT NULL DEFAULT 'north'; ALTER TABLE entry ADD region text NOT NULL DEFAULT 'north'",
      "ALTER TABLE account ADD level int DEFAULT 3; ALTER TABLE entry ADD level int DEFAULT 3",
    ],
  ]);
});

test("a retyped column that the mapping relies on parks its streams until they are retried", async () => {
  await using scene = await openScene(await openBank("link"));
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("link") });
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
    await capture.untilMore(20);
    await bank.db.query(
      `BEGIN; ${HOLD_TRAFFIC}; ${TOUCH} ALTER TABLE entry ALTER account_id TYPE bigint; ${TOUCH} COMMIT`,
    );
    await capture.until(() => (capture.status?.quarantine.streams ?? 0) > 0, "parked streams");
    expect(capture.drift[0]?.broken).toMatchObject({ code: "SCHEMA_DRIFT" });
    expect(capture.drift[0]?.broken?.message).toMatch(/account_id.*parent link of entries/);
    expect(capture.drift[0]?.broken?.hint).toMatch(/banyan run.*banyan quarantine retry/);
    expect(await parityOf(scene)).toMatchObject({ state: "inconclusive" });
  }
  await using capture = new Capture(scene);
  await capture.untilTailing();
  await using store = await openStoreOf(scene);
  expect(await store.quarantine.decide(PIPELINE, undefined, "retry")).toBeGreaterThan(0);
  await capture.until(() => capture.status?.quarantine.streams === 0, "the release");
  await traffic.stop();
  expect(await parityOf(scene)).toMatchObject({ state: "equal" });
});

test("a table renamed under the capture ends it, and nothing is lost once the config says so", async () => {
  await using scene = await openScene(await openBank("renamed"));
  const { bank } = scene;
  await using traffic = startTraffic({ url: bank.db.url, seed: seedOf("renamed") });
  await using capture = new Capture(scene, { source: { publicationCheckMs: 200 } });
  await capture.untilTailing();
  await capture.untilMore(20);
  await traffic.stop();
  const touchRenamed = TOUCH.replace("UPDATE account", "UPDATE customer");
  await bank.db.query(
    `BEGIN; ${TOUCH} ALTER TABLE account RENAME TO customer; ${touchRenamed} COMMIT`,
  );
  await bank.db.query(touchRenamed);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "TABLE_MISSING", recovery: "operator" });
  expect(error.message).toContain("public.account");
  await bank.db.query(touchRenamed);
  const streams = bankStreams({ account: "customer", entry: "entry" });
  await using again = new Capture(scene, { streams });
  await again.untilTailing();
  expect(await parityOf(scene, { streams })).toMatchObject({ state: "equal" });
  await again.stop();
  await expectExactEvents(bank.db, scene.store);
});
