import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";

const SECOND_MS = 1_000;
const DAY_MS = 86_400_000;

/** The clock of the capture's machine is set: a little or by days, forward or back, and back again. */
export const jumpClock: Fault = {
  name: "clock jump",
  needs: [],
  isEarly: true,
  async run({ setClock, captures }, random, signal) {
    const farMs = oneOf(random, [SECOND_MS, 90 * SECOND_MS, DAY_MS, 400 * DAY_MS]);
    const shiftMs = Math.round(farMs * (0.5 + random())) * (random() < 0.5 ? -1 : 1);
    const before = captures.alive;
    setClock(shiftMs);
    const ms = between(random, 500, 6_000);
    await pause(ms, signal);
    const alive = Math.max(before, captures.alive);
    setClock(0);
    const text = `by ${(shiftMs / SECOND_MS).toFixed(0)} s, for ${seconds(ms)}`;
    return alive > 0 ? did(text) : didNot("there was no capture");
  },
};
