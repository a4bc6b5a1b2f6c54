import { did, didNot, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

const START_MS_MAX = 2_000;

/** SIGSTOP, for longer than the server's patience at times, then SIGCONT. */
export const freezeCapture: Fault = {
  name: "capture frozen",
  needs: ["capture"],
  isEarly: true,
  async run({ captures }, random, signal) {
    const ms = between(random, 300, 6_000);
    await captures.one(START_MS_MAX);
    const { frozen, goOn } = captures.freeze();
    await pause(ms, signal);
    goOn();
    return frozen > 0 ? did(`for ${seconds(ms)}`) : didNot("there was none");
  },
};
