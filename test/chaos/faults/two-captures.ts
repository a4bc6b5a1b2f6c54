import { setTimeout as sleep } from "node:timers/promises";
import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";

/** So long it may take until a capture at work, or one that is let go on, hears that it is fenced. */
const FENCED_MS_MAX = 40_000;
const AT_WORK_MS_MAX = 30_000;
const POLL_MS = 50;

/**
 * One more than there should be, which takes the pipeline over: beside one at work, or one that stands
 * still. Exactly one of the two must end, and as fenced. No wire or server is broken meanwhile: one that cannot
 * be reached hears nothing.
 */
export const twoCaptures: Fault = {
  name: "two captures",
  needs: ["capture", "source", "store"],
  async run(world, random, signal) {
    const { captures } = world;
    const way = oneOf(random, ["at once", "beside", "over a frozen one"] as const);
    const stillMs = between(random, 500, 6_000);
    using _ = captures.hold();
    // The first is a fresh one: what was broken before may be half open still.
    await captures.kill();
    const before = captures.endings.get("PIPELINE_FENCED") ?? 0;
    const epoch = await world.epoch();
    captures.start();
    if (way !== "at once") {
      const deadline = performance.now() + AT_WORK_MS_MAX;
      while ((await world.epoch()) === epoch) {
        if (performance.now() > deadline || captures.alive === 0)
          return didNot("the first did not come to work");
        await sleep(POLL_MS);
      }
    }
    const { goOn } = way === "over a frozen one" ? captures.freeze() : { goOn: () => undefined };
    captures.start();
    if (way === "over a frozen one") await pause(stillMs, signal);
    goOn();
    const waited = performance.now();
    await captures.one(FENCED_MS_MAX);
    const tookMs = performance.now() - waited;
    const fenced = (captures.endings.get("PIPELINE_FENCED") ?? 0) - before;
    if (fenced !== 1 || captures.alive !== 1)
      throw new Error(
        `of two captures (${way}) ${fenced} were fenced and ${captures.alive} go on after ${seconds(tookMs)}`,
      );
    return did(`${way}, one was fenced after ${seconds(tookMs)}`);
  },
};
