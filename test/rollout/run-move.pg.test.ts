import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openRolloutPool, PostgresRolloutStore } from "../../connectors/postgres/rollout-store.ts";
import { PostgresRolloutState } from "../../connectors/postgres/rollout-state.ts";
import { PostgresEventMarks } from "../../connectors/postgres/event-marks.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import {
  actionIn,
  statesOf,
  type MoveKind,
  type MoveState,
  type Standing,
} from "../../src/rollout/move.ts";
import { moveWorld } from "../../src/rollout/move-world.ts";
import type { Move } from "../../src/rollout/rollout-store.ts";
import { runMove, type MoveWorld } from "../../src/rollout/run-move.ts";
import { bench, STREAMS, unseen, type Bench } from "../support/verify-bench.ts";

/*
 * A real source, its capture and a real store; a proxy and a reverse sync that say what they are told to. A
 * crash is an error out of the middle of the runner: nothing more of it is done, as after SIGKILL.
 */

class Killed extends Error {}

const TYPE = "account";
/** Longer than what is done within a hold takes on a machine that is busy; a test that means its end sets it. */
const HOLD_MS = 20_000;
const MOVE_MS_MAX = 100_000;
const LEGACY: Standing = { stage: "legacy", share: 0 };
const SHADOW: Standing = { stage: "shadow", share: 0 };
const CANARY: Standing = { stage: "canary", share: 5_000 };
const NEW: Standing = { stage: "new", share: 10_000 };

let b: Bench;
let url: string;
let store: PostgresRolloutStore;
let marks: PostgresEventMarks;
let salt: string;
const ending = new AbortController();
const instance = randomUUID();
const proxy = { answers: true, knows: true, said: 0 };
let answering: Promise<void>;

beforeAll(async () => {
  b = await bench();
  const { rows } = (await b.query("SELECT current_database() AS name")) as {
    rows: [{ name: string }];
  };
  url = b.db.url.replace(/\/[^/?]+(\?|$)/, `/${rows[0].name}$1`);
  const pool = await openRolloutPool(url);
  store = new PostgresRolloutStore(pool, "bank");
  marks = new PostgresEventMarks(pool, "bank");
  expect(await move("promote", LEGACY, SHADOW)).toMatchObject({ outcome: "done" });
  salt = (await store.standings()).get(TYPE)!.salt;
  answering = answer();
  expect(await b.verify()).toMatchObject({ state: "equal" });
});
afterAll(async () => {
  ending.abort();
  await answering;
  await store.close();
  await b[Symbol.asyncDispose]();
});

/** As a proxy without traffic does. */
async function answer(): Promise<void> {
  while (!ending.signal.aborted) {
    const epoch = proxy.answers ? "coalesce((SELECT epoch FROM banyan.rollouts), 0)" : "1";
    const knows = proxy.knows ? epoch : "1";
    await b.query(`
      INSERT INTO banyan.proxies (pipeline, instance, place, stream_type, epoch, knows)
      VALUES ('bank', '${instance}', 'host:1', 'account', ${epoch}, ${knows})
      ON CONFLICT (pipeline, stream_type, instance) DO UPDATE SET epoch = excluded.epoch, knows = excluded.knows, seen_at = clock_timestamp()`);
    proxy.said += 1;
    await sleep(20);
  }
}

/** Of a proxy that changes: what it was just saying is in the store, and so is what it says now. */
async function saidAnew(change: Partial<typeof proxy>): Promise<void> {
  Object.assign(proxy, change);
  const before = proxy.said;
  while (proxy.said < before + 2) await sleep(5);
}

/** As reverse sync does that has applied everything. */
async function reverseIsThere(): Promise<void> {
  await b.query(`
    INSERT INTO banyan.reverse_progress (pipeline, cursor, updated_at)
    SELECT 'bank', transaction_id || '/' || position, clock_timestamp() + interval '1 hour' FROM banyan.events
     ORDER BY transaction_id DESC, position DESC LIMIT 1
    ON CONFLICT (pipeline) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at`);
}

/** @param changed what the store says of changed streams instead of what it knows */
function world(changed?: readonly string[], waitMsMax = 30_000): MoveWorld {
  const options = { pipeline: "bank", source: b.db.open(), store: b.store, streams: STREAMS };
  return moveWorld(
    { ...options, waitMsMax, samplesMax: 5, showValues: false },
    {
      eventsSeen: () => marks.eventsSeen(),
      eventsEnd: () => marks.eventsEnd(),
      changedSince: (...asked) =>
        changed === undefined ? marks.changedSince(...asked) : Promise.resolve(changed),
      reverseReached: (...asked) => marks.reverseReached(...asked),
      reverseConflicts: (type) => marks.reverseConflicts(type),
    },
    salt ?? "",
  );
}

interface Run {
  readonly holdMs?: number;
  readonly crashAt?: MoveState;
  readonly onState?: (state: MoveState) => void;
  readonly forced?: readonly string[];
  readonly without?: readonly string[];
  /** As if these had changed. */
  readonly changed?: readonly string[];
  /** For so long the capture is waited for. */
  readonly waitMsMax?: number;
  /** Awaited within the hold, before the comparison that the switch follows. */
  readonly beforeSwitch?: () => Promise<void>;
  /** Awaited behind the switch, before it is asked what is stored by then. */
  readonly behindSwitch?: () => Promise<void>;
}

async function move(kind: MoveKind, from: Standing, to: Standing, run: Run = {}): Promise<Move> {
  const { holdMs = HOLD_MS, crashAt, onState, forced = [], without = [], behindSwitch } = run;
  const begun = await store.begin({
    ...{ type: TYPE, kind, from, to, forced, without, holdMs },
    who: "ann@host",
    why: "a test",
    driver: randomUUID(),
  });
  let isSwitched = false;
  const told = (state: MoveState): void => {
    isSwitched = state === "switched";
    onState?.(state);
    if (state === crashAt) throw new Killed();
  };
  const base = world(run.changed, run.waitMsMax);
  const eventsEnd = async (type: string): Promise<string> => {
    if (isSwitched) await behindSwitch?.();
    return await base.eventsEnd(type);
  };
  const compare: MoveWorld["compare"] = async (...asked) => {
    await run.beforeSwitch?.();
    return await base.compare(...asked);
  };
  const options = { store, world: { ...base, eventsEnd, compare }, onState: told };
  return await runMove(options, begun, AbortSignal.timeout(MOVE_MS_MAX));
}

async function resume(): Promise<Move> {
  const taken = (await store.takeOver(randomUUID(), 0))!;
  return await runMove({ store, world: world() }, taken, AbortSignal.timeout(MOVE_MS_MAX), true);
}

async function standing() {
  const { stage, share, hold } = (await store.standings()).get(TYPE)!;
  return { stage, share, hold };
}

/** A key whose bucket is below 5,000, or not. */
function keyOf(isBelow: boolean): string {
  for (let n = 1; n <= 20; n++) if (bucketOf(String(n), salt) < 5_000 === isBelow) return String(n);
  throw new Error("all are on one side");
}

/** Back to where every test begins. */
async function atShadow(): Promise<void> {
  const { stage, share } = await standing();
  if (stage === "shadow") return;
  await reverseIsThere();
  expect(await move("rollback", { stage, share }, SHADOW)).toMatchObject({ outcome: "done" });
}

describe("a promotion", () => {
  test("switches while rows change, holds writes for less than a second or two, and is in the log", async () => {
    await atShadow();
    await b.db.query("UPDATE account SET balance = balance + 1 WHERE id = '3'");
    let heldMs = 0;
    const done = await move("promote", SHADOW, CANARY, {
      onState: (state) => {
        if (state === "held") heldMs = performance.now();
        if (state === "acknowledged")
          void b.db.query("UPDATE account SET balance = balance + 1 WHERE id IN ('3', '4', '5')");
      },
    });
    heldMs = performance.now() - heldMs;
    expect(done).toMatchObject({ outcome: "done" });
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    expect(heldMs).toBeLessThan(5_000);
    process.stdout.write(`writes were held for ${Math.round(heldMs)} ms\n`);
    const [first] = await store.log(TYPE, 1);
    expect(first).toMatchObject({ what: "promote done", who: "ann@host", why: "a test" });
  });

  test("is undone when a moving aggregate differs, whoever else does not", async () => {
    await atShadow();
    const [moving, staying] = [keyOf(true), keyOf(false)];
    await unseen(b, `UPDATE account SET owner = 'unseen' WHERE id = '${staying}'`);
    await b.db.query(`UPDATE account SET balance = 5 WHERE id = '${staying}'`);
    expect(await move("promote", SHADOW, CANARY)).toMatchObject({ outcome: "done" });
    await atShadow();
    await unseen(b, `UPDATE account SET owner = 'unseen' WHERE id = '${moving}'`);
    await b.db.query(`UPDATE account SET balance = 5 WHERE id = '${moving}'`);
    await b.pipeline.reach();
    const undone = await move("promote", SHADOW, CANARY);
    expect(undone).toMatchObject({ outcome: "undone", step: "begun" });
    expect(undone.reason).toContain(`account-${moving} differs (different in public.account)`);
    await b.db.query("UPDATE account SET owner = 'seen', balance = 6");
    await b.pipeline.reach();
  });

  test("is undone when one comes to differ within the hold", async () => {
    await atShadow();
    const moving = keyOf(true);
    let change: Promise<unknown> | undefined;
    await saidAnew({ answers: false });
    const undone = await move("promote", SHADOW, CANARY, {
      onState: (state) => {
        if (state !== "held") return;
        change = unseen(b, `UPDATE account SET owner = 'unseen' WHERE id = '${moving}'`).then(() =>
          b.db.query(`UPDATE account SET balance = 7 WHERE id = '${moving}'`),
        );
        void change.then(() => (proxy.answers = true));
      },
    });
    await change;
    expect(undone).toMatchObject({ outcome: "undone", step: "applied" });
    expect(undone.reason).toContain(`account-${moving} differs`);
    expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
    await b.db.query("UPDATE account SET owner = 'seen', balance = 8");
    await b.pipeline.reach();
  });

  test("holds nothing back for a capture that is behind: that is waited for ahead of the hold", async () => {
    await atShadow();
    const blocker = new pg.Client(url);
    await blocker.connect();
    const states: MoveState[] = [];
    const onState = (state: MoveState): void => void states.push(state);
    try {
      // What the capture writes waits.
      await blocker.query("BEGIN; SELECT FROM banyan.pipelines FOR NO KEY UPDATE");
      const waited = { onState, changed: [], waitMsMax: 3_000 };
      const undone = await move("promote", SHADOW, CANARY, waited);
      expect(undone).toMatchObject({ outcome: "undone", step: "begun" });
      expect(undone.reason).toMatch(/did not reach the fence[^]*; is banyan run running\?$/);
      expect(states).not.toContain("held");
      const freed = sleep(500).then(() => blocker.query("COMMIT"));
      const promoted = await move("promote", SHADOW, CANARY, { changed: [] });
      await freed;
      expect(promoted).toMatchObject({ outcome: "done" });
    } finally {
      await blocker.end();
    }
  });

  test("is undone when a proxy does not acknowledge, names it, and passes over it when told", async () => {
    await atShadow();
    await saidAnew({ answers: false });
    const undone = await move("promote", SHADOW, CANARY, { holdMs: 1_000 });
    expect(undone.reason).toContain(`host:1 (${instance})`);
    expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
    const done = await move("promote", SHADOW, CANARY, { without: [instance] });
    expect(done).toMatchObject({ outcome: "done", without: [instance] });
    proxy.answers = true;
  });

  const BEHIND: readonly MoveState[] = ["switched", "known"];
  const ADVANCE = statesOf("advance").filter((s) => s !== "undoing" && !BEHIND.includes(s));
  test.each(ADVANCE)(
    "that crashed at %s is undone, and holds nothing any more",
    async (crashAt) => {
      await atShadow();
      await expect(move("promote", SHADOW, CANARY, { crashAt })).rejects.toBeInstanceOf(Killed);
      await expect(move("promote", SHADOW, CANARY)).rejects.toMatchObject({ code: "ROLLOUT_BUSY" });
      expect(await resume()).toMatchObject({ outcome: "undone" });
      expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
    },
  );
});

describe("a promotion behind its switch", () => {
  test.each(["switched", "known"] as const)(
    "that crashed at %s goes on to its end",
    async (crashAt) => {
      await atShadow();
      await expect(move("promote", SHADOW, CANARY, { crashAt })).rejects.toBeInstanceOf(Killed);
      expect(await standing()).toMatchObject({ ...CANARY, hold: { reads: "new" } });
      expect(await resume()).toMatchObject({ outcome: "done" });
      expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    },
  );

  test("holds writes until every proxy knows of it, and says so when one does not", async () => {
    await atShadow();
    // What it was just saying may otherwise be said behind the switch.
    const beforeSwitch = (): Promise<void> => saidAnew({ knows: false });
    let isKnown = false;
    const done = await move("promote", SHADOW, CANARY, {
      beforeSwitch,
      onState: (state) => {
        if (state === "switched") setTimeout(() => ((proxy.knows = true), (isKnown = true)), 400);
        if (state === "known") expect(isKnown).toBe(true);
      },
    });
    expect(done).toMatchObject({ outcome: "done", reason: undefined });
    await atShadow();
    const late = await move("promote", SHADOW, CANARY, { beforeSwitch });
    proxy.knows = true;
    expect(late).toMatchObject({ outcome: "done" });
    expect(late.reason).toContain("reads of host:1 may have been answered by the other side");
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
  });
});

describe("a rollback", () => {
  async function atCanary(): Promise<void> {
    await atShadow();
    expect(await move("promote", SHADOW, CANARY)).toMatchObject({ outcome: "done" });
    await reverseIsThere();
  }

  /** A decision of the new service. */
  async function decide(): Promise<void> {
    const event = { id: randomUUID(), type: "Noted", data: {}, origin: "native" } as const;
    await b.store.append(`account-n${randomUUID()}`, [event], "none");
  }

  test("waits for what the new service has decided, and is undone when that does not come", async () => {
    await atCanary();
    await decide();
    const undone = await move("rollback", CANARY, SHADOW, { holdMs: 3_000 });
    expect(undone).toMatchObject({ outcome: "undone", step: "acknowledged" });
    expect(undone.reason).toContain("reverse sync has not applied everything");
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    const late = sleep(300).then(reverseIsThere);
    expect(await move("rollback", CANARY, SHADOW)).toMatchObject({ outcome: "done" });
    await late;
    expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
  });

  test("switches back when a decision was stored between and legacy cannot get it", async () => {
    await atCanary();
    const undone = await move("rollback", CANARY, SHADOW, { holdMs: 6_000, behindSwitch: decide });
    expect(undone).toMatchObject({ outcome: "undone", step: "switched" });
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    const [last] = await store.log(TYPE, 1);
    expect(last).toMatchObject({ what: "rollback switched back" });
    await reverseIsThere();
  });

  test("is refused by a conflict, and given up with the word", async () => {
    await atCanary();
    await b.query(`
      INSERT INTO banyan.reverse_conflicts (pipeline, stream_id, version, table_name, row_key, columns, reason)
      VALUES ('bank', 'account-3', 2, 'public.account', '3', '{}', 'changed')`);
    const undone = await move("rollback", CANARY, SHADOW);
    expect(undone.reason).toContain("1 aggregate waits in a conflict");
    const lost = await move("rollback", CANARY, SHADOW, { forced: ["reverse"] });
    expect(lost).toMatchObject({ outcome: "done", forced: ["reverse"] });
    await b.query("DELETE FROM banyan.reverse_conflicts");
  });

  const RETREAT = statesOf("retreat").filter((s) => s !== "undoing" && s !== "returning");
  test.each(RETREAT)("that crashed at %s goes on to its end", async (crashAt) => {
    await atCanary();
    expect(actionIn("retreat", crashAt)).toBeDefined();
    await expect(move("rollback", CANARY, SHADOW, { crashAt })).rejects.toBeInstanceOf(Killed);
    expect(await resume()).toMatchObject({ outcome: "done" });
    expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
  });

  test("that crashed behind its switch is taken back by whoever finds the hold over", async () => {
    await atCanary();
    const run = { crashAt: "switched", holdMs: 3_000 } as const;
    await expect(move("rollback", CANARY, SHADOW, run)).rejects.toBeInstanceOf(Killed);
    await sleep(3_100);
    const state = new PostgresRolloutState(url, "bank");
    const { epoch } = (await state.read()).get(TYPE)!;
    expect(await state.endHold(TYPE, epoch, "a proxy")).toBe(true);
    await state.close();
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    expect(await store.takeOver(randomUUID(), 0)).toBeUndefined();
    const [ended] = await store.moves(1);
    expect(ended).toMatchObject({ kind: "rollback", outcome: "undone" });
  });

  test("that is taken up when its hold is long over goes back, unless legacy has everything", async () => {
    await atCanary();
    const run = { crashAt: "switched", holdMs: 3_000 } as const;
    await expect(move("rollback", CANARY, SHADOW, run)).rejects.toBeInstanceOf(Killed);
    await decide();
    await sleep(3_100);
    expect(await resume()).toMatchObject({ outcome: "undone" });
    expect(await standing()).toEqual({ ...CANARY, hold: undefined });
    await reverseIsThere();
    await expect(move("rollback", CANARY, SHADOW, run)).rejects.toBeInstanceOf(Killed);
    await sleep(3_100);
    expect(await resume()).toMatchObject({ outcome: "done" });
    expect(await standing()).toEqual({ ...SHADOW, hold: undefined });
  });
});

test("many operators at once are one who moves and others who are told", async () => {
  await atShadow();
  const ends = await Promise.allSettled(
    Array.from({ length: 4 }, () => move("promote", SHADOW, NEW)),
  );
  expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  for (const end of ends)
    if (end.status === "rejected") expect(end.reason).toMatchObject({ code: "ROLLOUT_BUSY" });
  expect(await standing()).toEqual({ ...NEW, hold: undefined });
});

test("completing waits until legacy has everything", async () => {
  await b.query("UPDATE banyan.reverse_progress SET cursor = '1/1'");
  const undone = await move("complete", NEW, { ...NEW, stage: "complete" }, { holdMs: 300 });
  expect(undone).toMatchObject({ outcome: "undone" });
  await reverseIsThere();
  const done = await move("complete", NEW, { ...NEW, stage: "complete" });
  expect(done).toMatchObject({ outcome: "done" });
  expect(await standing()).toEqual({ ...NEW, stage: "complete", hold: undefined });
});
