import { did, didNot, type Fault } from "../fault.ts";
import { between, pause, seconds } from "../random.ts";
import { hugeTransaction } from "./huge-transaction.ts";

/**
 * The disk of the store is full, for its tables or for its log, where the server may go down. An
 * operator makes room after a while; until then captures that are started end with STORE_REFUSED.
 */
export const fillStoreDisk: Fault = {
  name: "store disk full",
  needs: ["store"],
  isEarly: true,
  async run({ disks, store, captures }, random, signal) {
    if (typeof disks === "string") return didNot(disks);
    const ms = between(random, 1_000, 6_000);
    const leftKb = between(random, 0, 512);
    using _ = captures.explain("STORE_REFUSED", 5_000);
    disks.store.fill(leftKb * 1024);
    await pause(ms, signal);
    disks.store.free();
    await store.start();
    return did(`but for ${leftKb} kB, for ${seconds(ms)}`);
  },
};

/** The disk that large transactions are spilled to takes a part of one: the next capture reads it again. */
export const fillSpillDisk: Fault = {
  name: "spill disk full",
  needs: ["spill"],
  async run(world, random, signal) {
    const { disks, captures } = world;
    if (typeof disks === "string") return didNot(disks);
    const leftKb = between(random, 0, 2_048);
    using _ = captures.explain("SPILL_FAILED", 5_000);
    disks.spill.fill(leftKb * 1024);
    const what = await hugeTransaction.run(world, random, signal);
    const ms = between(random, 1_000, 5_000);
    await pause(ms, signal);
    disks.spill.free();
    const text = `but for ${leftKb} kB, for ${seconds(ms)} after one ${what.text}`;
    return what.did ? did(text) : didNot(what.text);
  },
};
