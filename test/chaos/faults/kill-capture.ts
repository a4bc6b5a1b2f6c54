import { FAILPOINTS } from "../../../src/runtime/failpoint.ts";
import type { Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";

/** SIGKILL, and the operator's restart some time later. */
export const killCapture: Fault = {
  name: "capture killed",
  needs: ["capture"],
  async run({ captures }, random, signal) {
    const times = between(random, 1, 3);
    for (let time = 0; time < times; time++) {
      using _ = captures.hold();
      await captures.kill();
      await pause(between(random, 0, 800), signal);
    }
    // A restart is killed again at some point of its start, too.
    const lifeMs = between(random, 50, 2_000);
    await pause(lifeMs, signal);
    await captures.kill();
    return `${times + 1} times, the last after ${seconds(lifeMs)}`;
  },
};

/** A capture that kills itself at some point of its work, and another one after it. */
export const killCaptureAtPoint: Fault = {
  name: "capture killed at a point",
  needs: ["capture"],
  async run({ captures }, random, signal) {
    const points = Array.from(
      { length: between(random, 1, 3) },
      () => `${oneOf(random, FAILPOINTS)}:${between(random, 1, 6)}`,
    );
    for (const point of points) {
      const hold = captures.hold();
      await captures.kill();
      captures.start(point);
      hold[Symbol.dispose]();
      // One that never comes there goes on, as any other.
      await pause(between(random, 500, 2_500), signal);
    }
    return points.join(", then ");
  },
};
