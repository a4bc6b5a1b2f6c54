import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  startEmbeddedPostgres,
  type EmbeddedPostgres,
} from "../../../connectors/embedded/embedded-postgres.ts";
import { openPostgresSource } from "../../../connectors/postgres/source.ts";

/** Settings of a whole server, so on a server of our own. */
let server: EmbeddedPostgres;
let dir: string;
let client: pg.Client;
const PLAN = { tables: [{ name: "item" }] };
/** So often it is looked, 50 milliseconds apart. */
const LOOKS_MAX = 600;

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "banyan-check-"));
  server = await startEmbeddedPostgres({
    dir,
    flags: ["-c", "wal_level=logical", "-c", "fsync=off"],
  });
  await server.createDatabase("shop");
  client = new pg.Client(server.url("shop"));
  client.on("error", () => undefined);
  await client.connect();
  await client.query("CREATE TABLE item (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE item");
});

afterAll(async () => {
  await client.end();
  await server.stop("immediate");
  rmSync(dir, { recursive: true, force: true });
});

async function warnings(): Promise<readonly string[]> {
  const source = openPostgresSource({ url: server.url("shop"), slot: "s", publication: "p" });
  const findings = await source.check(PLAN);
  await source.close();
  return findings.filter(({ severity }) => severity !== "info").map(({ code }) => code);
}

async function setting(name: string, value: string): Promise<void> {
  await client.query(`ALTER SYSTEM SET ${name} = ${value}`);
  await client.query("SELECT pg_reload_conf()");
  for (let look = 0; look < LOOKS_MAX; look++) {
    const { rows } = await client.query<{ now: string }>("SELECT current_setting($1) AS now", [
      name,
    ]);
    if (`'${String(rows[0]?.now)}'` === value) return;
    await sleep(50);
  }
  throw new Error(`${name} did not become ${value}`);
}

test("a server that would take the reader for a synchronous standby is warned about, for good reason", async () => {
  expect(await warnings()).toEqual([]);
  await setting("synchronous_standby_names", "'FIRST 1 (other, nobanyan)'");
  expect(await warnings()).toEqual([]);
  for (const names of ["'*'", "'ANY 1 (other, \"Banyan\")'"]) {
    await setting("synchronous_standby_names", names);
    expect(await warnings()).toEqual(["counted-as-standby"]);
  }
  // The reason: with the capture as the only reader, a commit waits for what the store has.
  await setting("synchronous_standby_names", "'*'");
  const source = openPostgresSource({ url: server.url("shop"), slot: "s", publication: "p" });
  await client.query("SET synchronous_commit = local");
  const snapshot = await source.openBaseline(PLAN, new AbortController().signal);
  await snapshot.close();
  const writer = new pg.Client(server.url("shop"));
  await writer.connect();
  const stop = new AbortController();
  let committed = false;
  const late = setTimeout(() => stop.abort(), 100_000);
  // Soon after the reader is there.
  const begun = setTimeout(() => {
    void writer.query("INSERT INTO item VALUES (1)").then(() => (committed = true));
  }, 700);
  for await (const group of source.stream(snapshot.position, stop.signal)) {
    await sleep(700);
    expect(committed).toBe(false);
    source.acknowledge(group.at(-1)!.transaction.end);
    for (let look = 0; look < LOOKS_MAX && !committed; look++) await sleep(50);
    expect(committed).toBe(true);
    stop.abort();
  }
  clearTimeout(begun);
  clearTimeout(late);
  expect(committed).toBe(true);
  await source.close();
  await setting("synchronous_standby_names", "''");
  await writer.end();
});

test("a server that forgets idle slots is warned about", async () => {
  await setting("idle_replication_slot_timeout", "'2d'");
  expect(await warnings()).toEqual(["slot-idle-timeout"]);
  await setting("idle_replication_slot_timeout", "'0'");
  expect(await warnings()).toEqual([]);
});

test("how much log may still be written is told in bytes and time, and warned about when it is short", async () => {
  const source = openPostgresSource({ url: server.url("shop"), slot: "s", publication: "p" });
  const snapshot = await source.openBaseline(
    { ...PLAN, isRestart: true },
    new AbortController().signal,
  );
  await snapshot.close();
  expect((await source.head(undefined)).logLeft).toBeUndefined();
  await setting("max_slot_wal_keep_size", "'128MB'");
  const left = (await source.head(undefined)).logLeft!;
  expect(left.bytes).toBeGreaterThan(64 * 1024 * 1024);
  expect(left.bytes).toBeLessThanOrEqual(160 * 1024 * 1024);
  expect(left.seconds).toBeGreaterThan(0);
  const short = (await source.check(PLAN)).find(({ code }) => code === "slot-log-short");
  expect(short).toMatchObject({
    severity: "warning",
    message: expect.stringMatching(
      /lost after another \d+ MB of log, at .* in about \d+ (min|h):/,
    ) as unknown,
  });
  await client.query("SELECT pg_logical_emit_message(false, 'filler', repeat('x', 20000000))");
  expect((await source.head(undefined)).logLeft!.bytes).toBeLessThan(left.bytes - 10_000_000);
  await setting("max_slot_wal_keep_size", "'-1'");
  expect(await warnings()).toEqual([]);
  await source.close();
});
