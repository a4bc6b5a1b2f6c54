import { setTimeout as sleep } from "node:timers/promises";
import { expect, test } from "vitest";
import { ControlSession } from "../../../connectors/postgres/control-session.ts";
import { createDatabase } from "../../support/databases.ts";

test("a session that broke is replaced once, and none is left when it is closed", async () => {
  await using db = await createDatabase("control");
  const control = new ControlSession(db.url, "control under test");
  const sessions = async (): Promise<number> => {
    const sql =
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'control under test'";
    const { rows } = await db.query(sql);
    return (rows as { n: number }[])[0]!.n;
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
  expect(await sessions()).toBe(1);
  await control.close();
  await sleep(50);
  expect(await sessions()).toBe(0);
});
