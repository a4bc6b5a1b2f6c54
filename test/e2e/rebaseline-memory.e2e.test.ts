import { describe, expect, test, vi } from "vitest";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import { configFolder, runCli, startCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

/** Child rows of the one aggregate, of half a kilobyte each: more than the heap has room for. */
const ROWS = 200_000;
const HEAP_MB = 128;

const TABLES = `
  CREATE TABLE device (id int PRIMARY KEY, n int NOT NULL DEFAULT 0);
  CREATE TABLE reading (id int PRIMARY KEY, device_id int NOT NULL, body text NOT NULL);
  CREATE PUBLICATION banyan_devices FOR TABLE device, reading;
  INSERT INTO device VALUES (7), (8), (9);
  INSERT INTO reading SELECT i, CASE WHEN i % 100000 = 0 THEN 8 ELSE 7 END,
      (SELECT string_agg(md5(i::text || k), '') FROM generate_series(1, 16) k)
    FROM generate_series(1, ${ROWS}) i;
  CREATE INDEX ON reading (device_id);
  ANALYZE;`;

function configOf(source: TestDatabase, store: TestDatabase): string {
  return `
    import { child, defineMigration, stream, table } from "banyan";
    export default defineMigration({
      name: "devices",
      source: { kind: "postgres", url: ${JSON.stringify(source.url)} },
      store: { kind: "postgres", url: ${JSON.stringify(store.url)} },
      streams: {
        device: stream(table("device"), {
          children: { readings: child(table("reading"), { device_id: "id" }) },
          otherwise: "DeviceAmended",
        }),
      },
    });`;
}

/** What is told beside baselines. */
async function toldOf(store: TestDatabase): Promise<readonly unknown[]> {
  const { rows } = await store.query(
    "SELECT stream_id, type FROM banyan.events WHERE type <> 'DeviceBaselined' ORDER BY 1",
  );
  return rows as readonly unknown[];
}

const WAIT = { timeout: 60_000, interval: 100 };
const toTheEnd = ["run", "--until-caught-up", "--json"];

describe("an aggregate that is larger than the memory", () => {
  test("is read anew in a small heap, with the images of its rows, and the log goes on from them", async () => {
    await using source = await createDatabase("devices source");
    await using store = await createDatabase("devices store");
    await source.query(TABLES);
    using folder = configFolder(configOf(source, store));
    const env = { NODE_OPTIONS: `--max-old-space-size=${HEAP_MB}` };
    const options = { cwd: folder.directory, env };
    expect(await runCli(toTheEnd, { cwd: folder.directory })).toMatchObject({ exitCode: 0 });
    // Nobody sees these.
    await source.query("ALTER PUBLICATION banyan_devices DROP TABLE reading");
    await source.query("DELETE FROM reading WHERE id % 3 = 0 AND device_id = 7");
    await source.query("UPDATE reading SET body = 'unseen' WHERE id = 5");
    await source.query("ALTER PUBLICATION banyan_devices ADD TABLE reading");
    const anew = await runCli(["rebaseline", "--stream", "device-7", "--yes", "--json"], options);
    expect({ ...anew, stdout: "" }).toMatchObject({ exitCode: 0, signal: null });
    expect(JSON.parse(anew.stdout)).toEqual({ pipeline: "devices", asked: 1, readAnew: 1 });
    const { rows: images } = await store.query(
      `SELECT count(*)::int AS images FROM banyan.row_images`,
    );
    const { rows: left } = await source.query(
      `SELECT (SELECT count(*) FROM reading) + (SELECT count(*) FROM device) AS images`,
    );
    expect(images[0]).toEqual({ images: Number((left[0] as { images: string }).images) });
    await source.query("UPDATE reading SET body = 'seen' WHERE id IN (5, 100000)");
    await source.query("DELETE FROM reading WHERE id = 7");
    const running = startCli(["run"], options);
    const verified = await runCli(["verify", "--json"], { cwd: folder.directory });
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ exitCode: 0 });
    expect([verified.exitCode, JSON.parse(verified.stdout)]).toMatchObject([0, { state: "equal" }]);
    const { rows: told } = await store.query(
      `SELECT data -> '$was' ->> 'body' AS was FROM banyan.events WHERE type = 'DeviceAmended' AND data @> '{"id": 5}'`,
    );
    expect(told).toEqual([{ was: "unseen" }]);
  }, 280_000);
});

describe("a stream that the process dies of", () => {
  test("is set aside after three deaths, so that the log is followed; what was asked for can be taken back", async () => {
    await using source = await createDatabase("devices source");
    await using store = await createDatabase("devices store");
    await source.query(TABLES.replace(String(ROWS), "1000"));
    using folder = configFolder(configOf(source, store));
    const options = { cwd: folder.directory };
    expect(await runCli(toTheEnd, options)).toMatchObject({ exitCode: 0 });
    const withdraw = async (...of: string[]): Promise<unknown> => {
      const { exitCode, stdout } = await runCli(
        ["rebaseline", "--withdraw", ...of, "--json"],
        options,
      );
      return { exitCode, ...(JSON.parse(stdout) as object) };
    };
    const nothing = { exitCode: 0, pipeline: "devices", withdrawn: 0 };
    expect(await withdraw()).toEqual(nothing);
    const dying = { ...options, env: { BANYAN_FAILPOINT: "batch-staged:1" } };
    const anew = ["rebaseline", "--stream", "device-7", "--yes", "--json"];
    expect(await runCli(anew, dying)).toMatchObject({ signal: "SIGKILL" });
    expect(await withdraw("--type", "parcel", "--stream", "device-9")).toEqual(nothing);
    expect(await withdraw("--type", "device")).toEqual({ ...nothing, withdrawn: 1 });
    expect(await withdraw()).toEqual(nothing);

    const opened = await openPostgresEventStore({ url: store.url });
    expect(await opened.requestRebaseline("devices", ["device-7"], "a test asked for it")).toBe(1);
    await opened.close();
    for (let death = 1; death <= 3; death++)
      expect(await runCli(["run"], dying)).toMatchObject({ signal: "SIGKILL" });
    await source.query("UPDATE device SET n = 1 WHERE id = 8");
    const running = startCli(["run"], options);
    await vi.waitFor(() => expect(running.stderr()).toMatch(/device-7[^\n]*died 3 times/), WAIT);
    await vi.waitFor(async () => expect(await toldOf(store)).toHaveLength(1), WAIT);
    running.child.kill("SIGINT");
    expect(await running.ended).toMatchObject({ exitCode: 0 });
    const status = await runCli(["status", "--json"], options);
    expect(JSON.parse(status.stdout)).toMatchObject({
      notReadAnew: [
        { stream: "device-7", why: expect.stringContaining("died 3 times") as unknown },
      ],
    });
    expect(await toldOf(store)).toEqual([{ stream_id: "device-8", type: "DeviceAmended" }]);
    expect(await withdraw()).toEqual(nothing);
  }, 180_000);
});
