import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import pg from "pg";
import { expect, inject, test } from "vitest";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { openBank, startTraffic } from "../support/faults-bank.ts";
import { Capture, expectIntact, openScene, seedOf, type Scene } from "../support/faults-capture.ts";
import { createRole } from "../support/faults-role.ts";

/*
 * The source is not there, does not let us in, or is not the one it was. What passes by itself is tried
 * again, the rest ends the run; the message says which, and what to do.
 */

/** The scene with another way to the source. */
function at(scene: Scene, url: string): Scene {
  return { ...scene, bank: { ...scene.bank, db: { ...scene.bank.db, url } } };
}

function changed(url: string, change: (parts: URL) => void): string {
  const parts = new URL(url);
  change(parts);
  return parts.href;
}

test("a wrong password ends the run and is not shown", async () => {
  await using scene = await openScene(await openBank("password"));
  const url = changed(scene.bank.db.url, (parts) => (parts.password = "wrong-and-secret"));
  await using capture = new Capture(at(scene, url));
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_REFUSED", recovery: "operator", exitCode: 4 });
  expect(error.message).toMatch(/^connecting: .*password/);
  expect(error.hint).toBe("Check the password in the URL.");
  expect(JSON.stringify([error, error.message, error.cause])).not.toContain("wrong-and-secret");
});

test("a database that does not exist ends the run and is named", async () => {
  await using scene = await openScene(await openBank("no database"));
  const url = changed(scene.bank.db.url, (parts) => (parts.pathname = "/nowhere"));
  await using capture = new Capture(at(scene, url));
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_REFUSED", recovery: "operator" });
  expect(error.message).toContain("nowhere");
  expect(error.hint).toBe("Check the database name in the URL.");
});

test("a host that refuses is tried again until it is there", async () => {
  await using scene = await openScene(await openBank("refused"));
  await using traffic = startTraffic({ url: scene.bank.db.url, seed: seedOf("refused") });
  scene.toSource.refuse();
  await using capture = new Capture(scene);
  const error = await capture.untilRetry("SOURCE_UNREACHABLE");
  expect(error.hint).toContain("tried again");
  await capture.until(() => capture.retries.length >= 3, "further attempts");
  scene.toSource.resume();
  await capture.untilTailing();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("an address where nothing listens is told as such, with its port", async () => {
  // The near end of a connection: nobody listens on it, and nobody else gets it meanwhile.
  const listening = createServer().listen(0, "127.0.0.1");
  await once(listening, "listening");
  const taken = connect((listening.address() as AddressInfo).port, "127.0.0.1");
  await once(taken, "connect");
  const port = taken.localPort!;
  const url = `postgres://user:secret@127.0.0.1:${port}/shop`;
  const source = openPostgresSource({ url, slot: "s", publication: "p" });
  await expect(source.identify()).rejects.toMatchObject({
    code: "SOURCE_UNREACHABLE",
    recovery: "retry",
    message: expect.stringContaining(String(port)) as unknown,
    hint: expect.stringMatching(/Nothing listens.*host and port/) as unknown,
  });
  await source.close();
  taken.destroy();
  listening.close();
});

test("a role that may not replicate ends the run; with what the check prints it captures", async () => {
  await using scene = await openScene(await openBank("role"));
  const { db, slot, publication } = scene.bank;
  await using role = await createRole(db);
  const asRole = at(scene, role.url);
  await db.query(`GRANT SELECT ON account, entry TO ${role.name}`);
  {
    await using capture = new Capture(asRole);
    const error = await capture.failure();
    expect(error).toMatchObject({ code: "SOURCE_REFUSED", recovery: "operator" });
    expect(error.hint).toContain("banyan check");
  }
  await db.query(`REVOKE SELECT ON entry FROM ${role.name}`);
  const source = openPostgresSource({ url: role.url, slot, publication });
  const plan = { tables: [{ name: "account" }, { name: "entry" }] };
  const mend = (await source.check(plan)).flatMap((finding) => finding.mend ?? []);
  await source.close();
  expect(mend).toEqual([
    `ALTER ROLE "${role.name}" REPLICATION;`,
    `GRANT SELECT ON "public"."entry" TO "${role.name}";`,
  ]);
  for (const sql of mend) await db.query(sql);
  await using traffic = startTraffic({ url: db.url, seed: seedOf("role") });
  await using capture = new Capture(asRole);
  await capture.untilTailing();
  await capture.untilMore();
  scene.toSource.cut();
  await capture.untilMore();
  await expectIntact(scene, capture, traffic);
});

test("another database under the pipeline's name ends the run before anything is written", async () => {
  await using scene = await openScene(await openBank("first"));
  await using other = await openBank("second");
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  const count =
    "SELECT count(*)::int AS n, max(epoch) AS epoch FROM banyan.events, banyan.pipelines";
  const before = (await scene.store.query(count)).rows;
  await using capture = new Capture({ ...scene, bank: { ...other, slot: scene.bank.slot } });
  const error = await capture.failure();
  expect(error).toMatchObject({ code: "SOURCE_CHANGED", recovery: "operator" });
  expect(error.message).toContain(scene.bank.db.name);
  expect(error.message).toContain(other.db.name);
  expect(error.message).not.toContain("@");
  expect((await scene.store.query(count)).rows).toEqual(before);
});

test("another database renamed to the name of the first is found out by the slot", async () => {
  await using scene = await openScene(await openBank("renamed one"));
  await using other = await openBank("renamed two");
  {
    await using capture = new Capture(scene);
    await capture.untilTailing();
  }
  const { db } = scene.bank;
  const away = `${db.name}_away`;
  const rename = async (from: string, to: string): Promise<void> => {
    const admin = new pg.Client(inject("pgUrl"));
    await admin.connect();
    const end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1";
    await admin.query(end, [from]);
    await admin.query(`ALTER DATABASE ${from} RENAME TO ${to}`);
    await admin.end();
  };
  await rename(db.name, away);
  await rename(other.db.name, db.name);
  try {
    await using capture = new Capture(scene);
    const error = await capture.failure();
    expect(error).toMatchObject({ code: "SOURCE_NOT_READY", recovery: "operator" });
    expect(error.message).toContain(`in database ${away}`);
  } finally {
    await rename(db.name, other.db.name);
    await rename(away, db.name);
  }
});
