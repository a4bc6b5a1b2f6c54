import type { Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";

/** One more than there should be, which takes the pipeline over: beside one at work, or one that stands still. */
export const twoCaptures: Fault = {
  name: "two captures",
  needs: ["capture"],
  async run({ captures }, random, signal) {
    const way = oneOf(random, ["at once", "beside", "over a frozen one"] as const);
    if (way === "at once") {
      using _ = captures.hold();
      await captures.kill();
      captures.start();
      captures.start();
      await captures.one(between(random, 2_000, 8_000));
      return `started at once, ${left(captures.alive)}`;
    }
    await captures.one(5_000);
    const goOn = way === "beside" ? undefined : captures.freeze();
    captures.start();
    if (goOn !== undefined) await pause(between(random, 500, 6_000), signal);
    goOn?.();
    const waited = performance.now();
    await captures.one(8_000);
    return `the second ${way}, ${left(captures.alive)} after ${seconds(performance.now() - waited)}`;
  },
};

/** With the source or the store away, it may take until both are back. */
function left(alive: number): string {
  return alive === 1 ? "one is left" : `${alive} are left`;
}
