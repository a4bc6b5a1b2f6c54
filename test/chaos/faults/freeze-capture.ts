import type { Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

/** SIGSTOP, for longer than the server's patience at times, then SIGCONT. */
export const freezeCapture: Fault = {
  name: "capture frozen",
  needs: ["capture"],
  async run({ captures }, random, signal) {
    const ms = between(random, 300, 6_000);
    const goOn = captures.freeze();
    await pause(ms, signal);
    goOn();
    return `for ${seconds(ms)}`;
  },
};
