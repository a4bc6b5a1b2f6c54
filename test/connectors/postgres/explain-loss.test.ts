import { expect, test } from "vitest";
import { explainLoss } from "../../../connectors/postgres/slot.ts";
import { BanyanError } from "../../../src/model/errors.ts";

const lost = (hint: string) => new BanyanError("SLOT_LOST", "replication slot s is lost", { hint });
const SERVER = lost("The server gave up the slot's log.");
const SLOT = lost("Raise max_slot_wal_keep_size.");

test("a slot that is lost is told of as the slot tells it, where it can still be asked", async () => {
  expect(await explainLoss(SERVER, () => Promise.reject(SLOT))).toBe(SLOT);
});

test("what else is found, or nothing, takes no place of what the server said", async () => {
  const away = new BanyanError("SOURCE_UNREACHABLE", "gone");
  expect(await explainLoss(SERVER, () => Promise.reject(away))).toBe(SERVER);
  expect(await explainLoss(SERVER, () => Promise.reject(new Error("broken")))).toBe(SERVER);
  expect(await explainLoss(SERVER, () => Promise.resolve())).toBe(SERVER);
});

test("of any other error no slot is asked", async () => {
  const away = new BanyanError("SOURCE_UNREACHABLE", "gone");
  const never = (): Promise<void> => expect.unreachable();
  expect(await explainLoss(away, never)).toBe(away);
  expect(await explainLoss(undefined, never)).toBeUndefined();
});
