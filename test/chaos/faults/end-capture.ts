import { did, didNot, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

const START_MS_MAX = 2_000;

/** SIGTERM: what is begun is finished. */
export const endCapture: Fault = {
  name: "capture ended",
  needs: ["capture"],
  isEarly: true,
  async run({ captures }, random, signal) {
    await captures.one(START_MS_MAX);
    using _ = captures.hold();
    const started = performance.now();
    const ended = await captures.terminate();
    const tookMs = performance.now() - started;
    await pause(between(random, 0, 1_500), signal);
    return ended > 0 ? did(`in good order within ${seconds(tookMs)}`) : didNot("there was none");
  },
};
