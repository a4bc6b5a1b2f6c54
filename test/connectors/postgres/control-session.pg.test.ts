import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ControlSession } from "../../../connectors/postgres/control-session.ts";
import { createDatabase } from "../../support/databases.ts";

/** So often in a row it must be so, ten milliseconds apart. */
const LOOKS = 5;
const LOOKS_MAX = 2_000;

test("a session that broke is replaced once, and none is left when it is closed", async () => {
  await using db = await createDatabase("control");
  const control = new ControlSession(db.url, "control under test");
  const sessions = async (): Promise<number> => {
    const sql =
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'control under test'";
    const { rows } = await db.query(sql);
    return (rows as { n: number }[])[0]!.n;
  };
  /** A session that broke has told so before it is gone, and one that is let go may show late. */
  const comeTo = async (expected: number): Promise<void> => {
    let now = await sessions();
    for (let look = 0, times = 0; look < LOOKS_MAX && times < LOOKS; look++) {
      await sleep(10);
      now = await sessions();
      times = now === expected ? times + 1 : 0;
    }
    expect(now).toBe(expected);
  };
  for (let round = 0; round < 5; round++) {
    const { pid } = await control.one<{ pid: number }>("asking", "SELECT pg_backend_pid() AS pid");
    const asleep = control.query("sleeping", "SELECT pg_sleep(30)");
    // Asked again in the very moments of the failure.
    const again = asleep.catch(async () => {
      for (let attempt = 0; attempt < 50; attempt++) {
        const answer = control.query("asking", "SELECT 1").then(
          () => true,
          () => false,
        );
        if (await answer) return;
      }
    });
    await db.query("SELECT pg_terminate_backend($1)", [pid]);
    await expect(asleep).rejects.toMatchObject({ code: "SOURCE_UNREACHABLE" });
    await again;
    await sleep(20);
  }
  await control.query("asking", "SELECT 1");
  await comeTo(1);
  await control.close();
  await comeTo(0);
});
