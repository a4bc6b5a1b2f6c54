import { execFileSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { fillBank, type Bank } from "../../support/faults-bank.ts";
import { Capture, openScene } from "../../support/faults-capture.ts";
import { startTestServer, type TestServer } from "../../support/faults-server.ts";

/*
 * The same address and the same name, but not the same history: after a restore the log goes back
 * behind the checkpoint, after a promotion it branches off. Neither may be followed.
 */

let server: TestServer;
let databases = 0;

beforeAll(async () => {
  server = await startTestServer(["-c", "wal_level=logical"]);
});

afterAll(() => server[Symbol.asyncDispose]());

async function ownBank(): Promise<Bank> {
  databases += 1;
  return await fillBank(await server.createDatabase(`bank_${databases}`), 5);
}

async function change({ db }: Bank, owner: string): Promise<void> {
  await db.query("UPDATE account SET owner = $1", [owner]);
}

test("a source restored from a backup older than the checkpoint is refused", async () => {
  await using scene = await openScene(await ownBank());
  const { bank } = scene;
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  await server.stop("fast");
  const backup = mkdtempSync(join(tmpdir(), "banyan-faults-backup-"));
  execFileSync("cp", ["-a", server.dataDir, join(backup, "data")]);
  await server.start();
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
    for (let i = 0; i < 5; i++) await change(bank, `captured ${i}`);
    await capture.untilMore(5);
  }
  await server.stop("immediate");
  rmSync(server.dataDir, { recursive: true });
  execFileSync("cp", ["-a", join(backup, "data"), server.dataDir]);
  rmSync(backup, { recursive: true });
  await server.start();
  // Its place in the log lies before the checkpoint, so following the log would pass over it.
  await change(bank, "lost if it went on");
  await using capture = new Capture(scene);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_CHANGED", recovery: "operator" });
  expect(error.message).toMatch(/log of the source ends at [0-9A-F/]+, before the checkpoint/);
  expect(error.hint).toMatch(/backup.*pg_drop_replication_slot.*empty/);
});

test("a source on another timeline is refused, with both identities", async () => {
  await using scene = await openScene(await ownBank());
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  await server.stop("fast");
  const signal = join(server.dataDir, "recovery.signal");
  writeFileSync(signal, "");
  const { uid, gid } = statSync(server.dataDir);
  chownSync(signal, uid, gid);
  await server.start(["-c", "wal_level=logical", "-c", "restore_command=false"]);
  await using capture = new Capture(scene);
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_CHANGED", recovery: "operator" });
  const name = scene.bank.db.name;
  expect(error.message).toMatch(new RegExp(`\\d+/1/${name}.*\\d+/2/${name}`));
  expect(error.hint).toMatch(/timeline.*new baseline/is);
});
