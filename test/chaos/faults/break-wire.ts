import type { TcpProxy } from "../../support/tcp-proxy.ts";
import { did, didNot, type Fault, type Outcome } from "../fault.ts";
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

const CONNECTED_MS_MAX = 5_000;
const POLL_MS = 20;

type Side = "source" | "store";

function cutWire(side: Side): Fault {
  return {
    name: `${side} wire cut`,
    needs: [side],
    isEarly: true,
    async run({ toSource, toStore }, random, signal) {
      const wire = side === "source" ? toSource : toStore;
      const cuts = between(random, 1, 5);
      await untilConnected(wire, signal);
      const hits: (() => boolean)[] = [];
      const cutNow = (): void => {
        const isOpen = wire.connections() > 0;
        wire.cut();
        hits.push(() => isOpen);
      };
      for (let cut = 0; cut < cuts && !signal.aborted; cut++) {
        if (random() < 0.4) cutNow();
        else hits.push(wire.cutAfter(Math.floor(10 ** (1 + random() * 4))));
        await pause(between(random, 0, 700), signal);
      }
      if (random() < 0.6) return outcome(hits, "");
      wire.refuse();
      cutNow();
      const refusedMs = between(random, 200, 3_000);
      await pause(refusedMs, signal);
      wire.resume();
      return outcome(hits, `, then refused for ${seconds(refusedMs)}`);
    },
  };
}

/** A capture may be between its end and its next start. */
async function untilConnected(wire: TcpProxy, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + CONNECTED_MS_MAX;
  while (wire.connections() === 0 && !signal.aborted && performance.now() < deadline)
    await pause(POLL_MS, signal);
}

function outcome(hits: readonly (() => boolean)[], rest: string): Outcome {
  const cuts = hits.filter((isHit) => isHit()).length;
  const text = `${cuts} of ${hits.length} times${rest}`;
  return cuts > 0 ? did(text) : didNot(text);
}

function halfOpenWire(side: Side): Fault {
  return {
    name: `${side} wire half open`,
    needs: [side],
    isEarly: true,
    async run({ toSource, toStore }, _random, signal) {
      const wire = side === "source" ? toSource : toStore;
      await untilConnected(wire, signal);
      const connections = wire.connections();
      wire.halfOpen();
      const text = `${connections} connections`;
      return connections > 0 ? did(text) : didNot("there was no connection");
    },
  };
}

function stallWire(side: Side): Fault {
  return {
    name: `${side} wire stalled`,
    needs: [side],
    isEarly: true,
    async run({ toSource, toStore }, random, signal) {
      const wire = side === "source" ? toSource : toStore;
      const way = oneOf(random, ["up", "down", "both", "late"] as const);
      const ms = between(random, 200, 7_000);
      await untilConnected(wire, signal);
      if (way === "late") wire.delay(between(random, 5, 150));
      else wire.stall(way);
      const before = wire.connections();
      await pause(ms, signal);
      const open = Math.max(before, wire.connections());
      wire.resume();
      const text = `${way}, for ${seconds(ms)}`;
      return open > 0 ? did(text) : didNot("there was no connection");
    },
  };
}
