import { setTimeout as sleep } from "node:timers/promises";
import { BanyanError } from "../../src/model/errors.ts";
import type { Ask } from "./catalogue.ts";
import { visibility } from "./parity.ts";
import { openTransactions } from "./slot.ts";

const LOOK_MS = 20;

/**
 * Waits until every snapshot sees what the slot's own snapshot sees. The slot goes by the log, where a
 * commit stands before others see it (with a synchronous standby until that has confirmed). A chunk of
 * a baseline that is read too early would miss such a transaction, and the slot's log does not tell it.
 *
 * @param seen `pg_current_snapshot()` inside the slot's snapshot
 * @param ask outside of it
 * @throws BanyanError `SLOT_CREATION_BLOCKED` after `waitMsMax`
 */
export async function waitUntilSeenByAll(
  seen: string,
  ask: Ask,
  slot: string,
  waitMsMax: number,
  signal: AbortSignal,
): Promise<void> {
  const deadline = performance.now() + waitMsMax;
  for (;;) {
    const doing = "waiting for commits to become visible";
    const [now] = await ask<{ snapshot: string }>(
      doing,
      "SELECT pg_current_snapshot()::text AS snapshot",
      [],
    );
    if (seesAll(now!.snapshot, seen)) return;
    if (performance.now() >= deadline) break;
    await sleep(LOOK_MS, undefined, { signal });
  }
  const { list, hint, pids } = await openTransactions(ask);
  throw new BanyanError(
    "SLOT_CREATION_BLOCKED",
    `replication slot ${slot} is there, but commits before it are not visible since more than ${Math.round(waitMsMax / 1000)} s, as when a synchronous standby is down: ${list}`,
    { hint, detail: { slot, pids } },
  );
}

/**
 * Whether a snapshot sees all that another one does. What it does not see of the past are the transactions
 * that it has in progress, and those that have begun since.
 *
 * @param now `xmin:xmax:xip,…`
 * @param seen likewise; of a slot's snapshot xmin may lie beyond xmax
 */
export function seesAll(now: string, seen: string): boolean {
  const isSeen = visibility(seen);
  const [, xmax = "0", inProgress = ""] = now.split(":");
  if (inProgress !== "" && inProgress.split(",").some(isSeen)) return false;
  const end = seen
    .split(":", 2)
    .map(BigInt)
    .reduce((a, b) => (a > b ? a : b));
  for (let id = BigInt(xmax); id < end; id++) if (isSeen(String(id))) return false;
  return true;
}
