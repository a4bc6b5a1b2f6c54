/** The thread that compares reads, with mistakes in it: what it does with a read is said by its path. */
import { parentPort } from "node:worker_threads";
import "../../src/proxy/judge-thread.ts";
import type { ToJudge } from "../../src/proxy/judge-messages.ts";
import { readsOf } from "../../src/proxy/read-batch.ts";

const PAUSE_MS = 4_000;

parentPort!.on("message", (message: ToJudge) => {
  if (message === "close") return;
  for (const { target } of readsOf(message)) {
    if (target === "/orders/exit") process.exit(7);
    if (target === "/orders/throw") throw new Error("a mistake");
    if (target === "/orders/hang") stop(Number.POSITIVE_INFINITY);
    if (target.startsWith("/orders/pause")) stop(PAUSE_MS);
  }
});

function stop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
