import { did, didNot, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

/** SIGTERM: what is begun is finished. */
export const endCapture: Fault = {
  name: "capture ended",
  needs: ["capture"],
  isEarly: true,
  async run({ captures }, random, signal) {
    using _ = captures.hold();
    const started = performance.now();
    const ended = await captures.terminate();
    const tookMs = performance.now() - started;
    await pause(between(random, 0, 1_500), signal);
    return ended > 0 ? did(`in good order within ${seconds(tookMs)}`) : didNot("there was none");
  },
};
