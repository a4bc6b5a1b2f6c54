import type { Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";

/** Connections are reset: all at once, or one in the middle of what the server says; new ones may be refused for a while. */
export const cutSourceWire = cutWire("source");
export const cutStoreWire = cutWire("store");
/** The server's end is gone, and nothing says so. */
export const halfOpenSourceWire = halfOpenWire("source");
export const halfOpenStoreWire = halfOpenWire("store");
/** Nothing passes for a while, in one direction or both, or everything passes late. */
export const stallSourceWire = stallWire("source");
export const stallStoreWire = stallWire("store");

type Side = "source" | "store";

function cutWire(side: Side): Fault {
  return {
    name: `${side} wire cut`,
    needs: [side],
    async run({ toSource, toStore }, random, signal) {
      const wire = side === "source" ? toSource : toStore;
      const cuts = between(random, 1, 5);
      for (let cut = 0; cut < cuts && !signal.aborted; cut++) {
        if (random() < 0.4) wire.cut();
        else wire.cutAfter(Math.floor(10 ** (1 + random() * 4)));
        await pause(between(random, 0, 700), signal);
      }
      if (random() < 0.6) return `${cuts} times`;
      wire.refuse();
      wire.cut();
      const refusedMs = between(random, 200, 3_000);
      await pause(refusedMs, signal);
      wire.resume();
      return `${cuts} times, then refused for ${seconds(refusedMs)}`;
    },
  };
}

function halfOpenWire(side: Side): Fault {
  return {
    name: `${side} wire half open`,
    needs: [side],
    run({ toSource, toStore }) {
      const wire = side === "source" ? toSource : toStore;
      const connections = wire.connections();
      wire.halfOpen();
      return Promise.resolve(`${connections} connections`);
    },
  };
}

function stallWire(side: Side): Fault {
  return {
    name: `${side} wire stalled`,
    needs: [side],
    async run({ toSource, toStore }, random, signal) {
      const wire = side === "source" ? toSource : toStore;
      const way = oneOf(random, ["up", "down", "both", "late"] as const);
      const ms = between(random, 200, 7_000);
      if (way === "late") wire.delay(between(random, 5, 150));
      else wire.stall(way);
      await pause(ms, signal);
      wire.resume();
      return `${way}, for ${seconds(ms)}`;
    },
  };
}
