import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { describe, expect, test } from "vitest";
import type { Standing } from "../../src/rollout/move.ts";
import type { Move, MoveIntent, RolloutStore } from "../../src/rollout/rollout-store.ts";

export interface RolloutStoreHarness extends AsyncDisposable {
  readonly store: RolloutStore;
  /** As a proxy does that finds a hold over by the clock. */
  endHold(type: string, epoch: number): Promise<boolean>;
  putProxy(type: string, instance: string, epoch: number, ageMs: number): Promise<void>;
}

const LEGACY: Standing = { stage: "legacy", share: 0 };
const SHADOW: Standing = { stage: "shadow", share: 0 };
const CANARY: Standing = { stage: "canary", share: 1_000 };
/** Long enough for a few statements, also beside other tests. */
const HOLD_MS = 1_500;

function intent(more: Partial<MoveIntent> = {}): MoveIntent {
  return {
    type: "order",
    kind: "promote",
    from: LEGACY,
    to: SHADOW,
    who: "ann@host",
    why: "a test",
    forced: [],
    without: [],
    holdMs: 60_000,
    driver: randomUUID(),
    ...more,
  };
}

function there(result: Move | "over"): Move {
  if (result === "over") throw new Error("it was over");
  return result;
}

async function toShadow(store: RolloutStore): Promise<void> {
  there(await store.switchOver(await store.begin(intent()), "end"));
}

const advance = (more: Partial<MoveIntent> = {}): MoveIntent =>
  intent({ from: SHADOW, to: CANARY, ...more });

/** What every place where moves are decided keeps to. */
export function rolloutStoreContract(name: string, open: () => Promise<RolloutStoreHarness>): void {
  describe(`the ${name} rollout store`, () => {
    test("knows nothing at first, and makes a rollout with the first move", async () => {
      await using at = await open();
      expect(await at.store.standings()).toEqual(new Map());
      expect(await at.store.moves(10)).toEqual([]);
      const move = await at.store.begin(intent());
      expect(move).toMatchObject({ step: "begun", epoch: 1, endedAt: undefined, who: "ann@host" });
      const done = there(await at.store.switchOver(move, "end"));
      expect(done).toMatchObject({ outcome: "done", epoch: 2, step: "begun" });
      const standing = (await at.store.standings()).get("order")!;
      expect(standing).toMatchObject({ stage: "shadow", share: 0, epoch: 2, paused: false });
      expect(standing.hold).toBeUndefined();
      expect(standing.salt).not.toBe("");
    });

    test("has one move of a stream type at a time, and says who began it and what next", async () => {
      await using at = await open();
      await at.store.begin(intent({ who: "ann@host" }));
      await at.store.begin(intent({ type: "customer" }));
      await expect(at.store.begin(intent({ who: "bob@host" }))).rejects.toMatchObject({
        code: "ROLLOUT_BUSY",
        message: expect.stringMatching(
          /^ann@host began a promote of order from legacy to shadow at 20/,
        ),
        hint: expect.stringContaining("banyan rollout status"),
      });
      expect((await at.store.moves(10)).map(({ type }) => type).toSorted()).toEqual([
        "customer",
        "order",
      ]);
    });

    test("begins no move from where the stream type does not stand", async () => {
      await using at = await open();
      await toShadow(at.store);
      await expect(at.store.begin(intent())).rejects.toMatchObject({
        code: "ROLLOUT_BUSY",
        message: "order stands at shadow by now, not at legacy",
      });
      expect(await at.store.moves(10)).toHaveLength(1);
    });

    test("many who begin at once are one who does and others who are told", async () => {
      await using at = await open();
      await toShadow(at.store);
      const tries = Array.from({ length: 8 }, () =>
        at.store.begin(advance()).then(
          () => "begun",
          (error: unknown) => (error as { code: string }).code,
        ),
      );
      const ends = await Promise.all(tries);
      expect(ends.toSorted()).toEqual(
        [...Array<string>(7).fill("ROLLOUT_BUSY"), "begun"].toSorted(),
      );
    });

    test("goes through a promotion with an epoch and a row of the log for each change", async () => {
      await using at = await open();
      await toShadow(at.store);
      let move = await at.store.begin(advance());
      move = there(await at.store.hold(move));
      const { hold } = (await at.store.standings()).get("order")!;
      expect(hold).toMatchObject({ from: 0, to: 1_000, reads: "legacy" });
      expect(hold!.leftMs).toBeGreaterThan(1_000);
      for (const step of ["acknowledged", "fenced", "applied", "equal"] as const)
        move = await at.store.note(move, step, "A/1");
      expect(move).toMatchObject({ step: "equal", fence: "A/1", epoch: 3 });
      there(await at.store.switchOver(move, "end"));
      const standing = (await at.store.standings()).get("order")!;
      expect(standing).toMatchObject({ ...CANARY, epoch: 4 });
      expect(standing.hold).toBeUndefined();
      const log = await at.store.log("order", 10);
      expect(log.map(({ what, epoch }) => [what, epoch])).toEqual([
        ["promote done", 4],
        ["writes held back", 3],
        ["promote begun", 2],
        ["promote done", 2],
        ["promote begun", 1],
      ]);
      expect(await at.store.log("customer", 10)).toEqual([]);
      expect(await at.store.log(undefined, 2)).toHaveLength(2);
    });

    test("switches nothing when the hold is over, by the clock or because a proxy ended it", async () => {
      await using at = await open();
      await toShadow(at.store);
      let move = there(await at.store.hold(await at.store.begin(advance({ holdMs: 1 }))));
      await sleep(20);
      expect(await at.store.switchOver(move, "end")).toBe("over");
      expect(await at.endHold("order", move.epoch)).toBe(true);
      expect(await at.store.switchOver(move, "end")).toBe("over");
      expect(await at.store.end(move, "undone", "late")).toMatchObject({ reason: "late" });
      expect((await at.store.standings()).get("order")).toMatchObject({ ...SHADOW, epoch: 4 });
      move = there(await at.store.hold(await at.store.begin(advance())));
      expect(await at.endHold("order", move.epoch)).toBe(false);
      there(await at.store.switchOver(move, "end"));
    });

    test("ends a hold with the move that is undone, and an end stays as it is", async () => {
      await using at = await open();
      await toShadow(at.store);
      const move = there(await at.store.hold(await at.store.begin(advance())));
      const undone = await at.store.end(move, "undone", "not equal");
      expect(undone).toMatchObject({ outcome: "undone", reason: "not equal", epoch: 4 });
      const standing = (await at.store.standings()).get("order")!;
      expect(standing).toMatchObject({ ...SHADOW, epoch: 4 });
      expect(standing.hold).toBeUndefined();
      expect(await at.store.end(move, "done", undefined)).toMatchObject({ outcome: "undone" });
      await at.store.begin(advance());
    });

    test("keeps the hold behind a rollback's switch, and releases it or switches back", async () => {
      await using at = await open();
      await toShadow(at.store);
      const up = there(await at.store.hold(await at.store.begin(advance())));
      there(await at.store.switchOver(up, "end"));
      const back = intent({ kind: "rollback", from: CANARY, to: SHADOW });
      let move = there(await at.store.hold(await at.store.begin(back)));
      move = there(await at.store.switchOver(move, "keep-hold"));
      expect(move).toMatchObject({ step: "switched", endedAt: undefined });
      expect((await at.store.standings()).get("order")).toMatchObject({
        ...SHADOW,
        hold: { from: 0, to: 1_000, reads: "new" },
      });
      there(await at.store.switchBack(move, "behind"));
      const standing = (await at.store.standings()).get("order")!;
      expect(standing).toMatchObject(CANARY);
      expect(standing.hold).toBeUndefined();
      move = there(await at.store.hold(await at.store.begin(back)));
      move = await at.store.note(there(await at.store.switchOver(move, "keep-hold")), "settled");
      move = there(await at.store.turn(move));
      expect(move).toMatchObject({ step: "turned", endedAt: undefined });
      const turned = (await at.store.standings()).get("order")!;
      expect(turned).toMatchObject({ ...SHADOW, hold: { reads: "legacy" }, epoch: move.epoch });
      expect(await at.store.end(move, "done", undefined)).toMatchObject({ outcome: "done" });
      expect((await at.store.standings()).get("order")!.hold).toBeUndefined();
    });

    test("sends reads to new behind a promotion's switch, while writes are held back", async () => {
      await using at = await open();
      await toShadow(at.store);
      let move = there(await at.store.hold(await at.store.begin(advance())));
      move = there(await at.store.switchOver(move, "keep-hold"));
      const held = (await at.store.standings()).get("order")!;
      expect(held).toMatchObject({ ...CANARY, hold: { from: 0, to: 1_000, reads: "new" } });
      await at.store.end(move, "done", undefined);
      const { hold, ...standing } = (await at.store.standings()).get("order")!;
      expect(hold).toBeUndefined();
      expect(standing).toMatchObject({ ...CANARY, epoch: held.epoch + 1, since: held.since });
    });

    test("goes back when the hold of a rollback is over before legacy has everything", async () => {
      await using at = await open();
      await toShadow(at.store);
      const up = there(await at.store.hold(await at.store.begin(advance())));
      there(await at.store.switchOver(up, "end"));
      const back = intent({ kind: "rollback", from: CANARY, to: SHADOW, holdMs: HOLD_MS });
      let move = there(await at.store.hold(await at.store.begin(back)));
      move = there(await at.store.switchOver(move, "keep-hold"));
      expect(await at.endHold("order", move.epoch)).toBe(false);
      await sleep(HOLD_MS + 50);
      expect(await at.endHold("order", move.epoch)).toBe(true);
      const standing = (await at.store.standings()).get("order")!;
      expect(standing).toMatchObject({ ...CANARY, epoch: move.epoch + 1 });
      expect(standing.hold).toBeUndefined();
      const [undone] = await at.store.moves(1);
      expect(undone).toMatchObject({ outcome: "undone", epoch: move.epoch + 1 });
      expect((await at.store.log("order", 1))[0]).toMatchObject({ what: "rollback switched back" });
      // Its driver, who is behind, changes nothing more and is told how it ended.
      for (const late of [
        await at.store.note(move, "settled"),
        await at.store.turn(move),
        await at.store.switchBack(move, "behind"),
        await at.store.end(move, "done", undefined),
      ])
        expect(late).toMatchObject({ outcome: "undone", id: move.id });
      expect((await at.store.standings()).get("order")).toEqual(standing);
    });

    test("keeps legacy when the hold is over and legacy has everything, and goes back late when it has not", async () => {
      await using at = await open();
      await toShadow(at.store);
      const up = there(await at.store.hold(await at.store.begin(advance())));
      there(await at.store.switchOver(up, "end"));
      const back = intent({ kind: "rollback", from: CANARY, to: SHADOW, holdMs: HOLD_MS });
      let move = there(await at.store.hold(await at.store.begin(back)));
      move = there(await at.store.switchOver(move, "keep-hold"));
      await sleep(HOLD_MS + 50);
      // Nobody has found it yet.
      there(await at.store.switchBack(move, "behind"));
      expect((await at.store.standings()).get("order")).toMatchObject(CANARY);
      move = there(await at.store.hold(await at.store.begin(back)));
      move = await at.store.note(there(await at.store.switchOver(move, "keep-hold")), "settled");
      await sleep(HOLD_MS + 50);
      const { since } = (await at.store.standings()).get("order")!;
      expect(await at.endHold("order", move.epoch)).toBe(true);
      expect((await at.store.standings()).get("order")).toMatchObject({ ...SHADOW, since });
      expect(await at.store.turn(move)).toBe("over");
      expect(await at.store.end(move, "done", undefined)).toMatchObject({ outcome: "done" });
    });

    test("gives a silent move to another driver, and nothing more to the one before", async () => {
      await using at = await open();
      await toShadow(at.store);
      const move = there(await at.store.hold(await at.store.begin(advance())));
      const other = randomUUID();
      expect(await at.store.takeOver(other, 60_000)).toBeUndefined();
      expect(await at.store.takeOver(other, 0, "customer")).toBeUndefined();
      const taken = (await at.store.takeOver(other, 0, "order"))!;
      expect(taken).toMatchObject({ id: move.id, step: "held", driver: other });
      for (const call of [
        () => at.store.touch(move),
        () => at.store.note(move, "acknowledged"),
        () => at.store.hold(move),
        () => at.store.switchOver(move, "end"),
        () => at.store.switchBack(move, "x"),
        () => at.store.end(move, "undone", "x"),
      ])
        await expect(call()).rejects.toMatchObject({ code: "ROLLOUT_BUSY" });
      await at.store.touch(taken);
      there(await at.store.switchOver(taken, "end"));
    });

    test("tells moves newest first, also beyond nine", async () => {
      await using at = await open();
      await toShadow(at.store);
      for (let n = 0; n < 11; n++)
        await at.store.end(await at.store.begin(advance()), "undone", `the ${n}th`);
      const numbers = (await at.store.moves(12)).map(({ id }) => Number(id));
      expect(numbers).toEqual(numbers.toSorted((a, b) => b - a));
    });

    test("changes nothing for a driver that missed an answer", async () => {
      await using at = await open();
      await toShadow(at.store);
      const before = await at.store.begin(advance());
      there(await at.store.hold(before));
      await expect(at.store.end(before, "undone", "x")).rejects.toMatchObject({
        code: "ROLLOUT_BUSY",
        message: expect.stringContaining("step held"),
      });
    });

    test("pauses and resumes a stream type that moves no further, not one under way", async () => {
      await using at = await open();
      expect(await at.store.pause("order", true, "ann", "x")).toBe(false);
      await toShadow(at.store);
      expect(await at.store.pause("order", true, "ann", "lunch")).toBe(true);
      expect((await at.store.standings()).get("order")).toMatchObject({ paused: true, epoch: 3 });
      expect(await at.store.pause("order", false, "ann", "back")).toBe(true);
      expect((await at.store.log("order", 2)).map(({ what, why }) => [what, why])).toEqual([
        ["resumed", "back"],
        ["paused", "lunch"],
      ]);
      await at.store.begin(advance());
      await expect(at.store.pause("order", true, "ann", "x")).rejects.toMatchObject({
        code: "ROLLOUT_BUSY",
      });
      expect((await at.store.standings()).get("order")).toMatchObject({ paused: false, epoch: 4 });
    });

    test("tells what proxies have acknowledged, and since when they were not seen", async () => {
      await using at = await open();
      const [one, two] = [randomUUID(), randomUUID()];
      await at.putProxy("order", one, 7, 0);
      await at.putProxy("order", two, 5, 90_000);
      const found = new Map((await at.store.proxies("order")).map((p) => [p.instance, p]));
      expect(found.get(one)).toMatchObject({ epoch: 7 });
      expect(found.get(one)!.ageMs).toBeLessThan(60_000);
      expect(found.get(two)!.ageMs).toBeGreaterThanOrEqual(89_000);
      expect(await at.store.proxies("customer")).toEqual([]);
    });
  });
}
