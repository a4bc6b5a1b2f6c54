import { did, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";

/** A server crashes, or is stopped in good order, and comes back. */
export const crashSource = crashServer("source");
export const crashStore = crashServer("store");

function crashServer(side: "source" | "store"): Fault {
  return {
    name: `${side} crash`,
    needs: [side],
    isEarly: true,
    async run(world, random, signal) {
      const server = world[side];
      const mode = random() < 0.75 ? "immediate" : "fast";
      const downMs = between(random, 0, 3_000);
      await server.stop(mode);
      await pause(downMs, signal);
      await server.start();
      return did(`${mode}, down for ${seconds(downMs)}`);
    },
  };
}
