import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "./json-shape.ts";
import { codeBlocks, page } from "./markdown.ts";
import { configFolder, runCli, startCli, type RunningCli } from "../support/cli.ts";
import { createDatabase, type TestDatabase } from "../support/databases.ts";

/*
 * One small pipeline is brought into every state in which a document has other fields; what the
 * program printed on the way is then compared with the page, kind by kind.
 */

const NAME = `json_${randomUUID().slice(0, 8)}`;
const CONFIG = `
import { changes, defineMigration, env, stream, table, updated } from "banyan";
const item = table("item");
export default defineMigration({
  name: "${NAME}",
  source: { kind: "postgres", url: env("LEGACY_URL") },
  store: { kind: "postgres", url: env("EVENTS_URL") },
  streams: {
    item: stream(item, {
      events: { Relabelled: updated(item, { label: changes() }), Sorted: updated(item, { kind: changes() }) },
      otherwise: "ItemAmended",
    }),
  },
});`;
/** With rules that throw, more than are told of, a column named twice, and a child. */
const BROKEN = `
import { changed, child, defineMigration, env, inserted, stream, table, updated } from "banyan";
const item = table("item");
const part = table("part");
const throwing = [0, 1, 2, 3, 4, 5, 6, 7, 8].map((n) => [
  "Thrown" + n,
  updated(item, changed("price"), { where: ({ price }) => { if (Math.abs(price % 9) === n) throw new Error("no"); return false; } }),
]);
export default defineMigration({
  name: "${NAME}",
  source: { kind: "postgres", url: env("LEGACY_URL") },
  streams: {
    item: stream(item, {
      children: { parts: child(part, { item_id: "id" }) },
      events: {
        Listed: inserted(item, { with: [part] }),
        ...Object.fromEntries(throwing),
        Repriced: updated(item, changed("price"), { data: ["kind", "kind"] }),
      },
      otherwise: "ItemAmended",
    }),
  },
});`;
const WAIT_MS_MAX = 60_000;
const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";

const printed = new Map<string, unknown[]>();
let legacy: TestDatabase;
let events: TestDatabase;
let folder: ReturnType<typeof configFolder>;
let env: Record<string, string>;

beforeAll(async () => {
  legacy = await createDatabase("json");
  events = await createDatabase("json_events");
  folder = configFolder(CONFIG);
  env = { LEGACY_URL: legacy.url, EVENTS_URL: events.url };
  await bringAbout();
}, 240_000);

afterAll(async () => {
  await legacy[Symbol.asyncDispose]();
  await events[Symbol.asyncDispose]();
  folder[Symbol.dispose]();
});

describe("the page says exactly what the program prints", () => {
  test.each([
    ["check", ["check"]],
    ["status", ["run", "status"]],
    ["verify", ["verify"]],
    ["verify --watch", ["verify --watch"]],
    ["history", ["history"]],
    ["state", ["state"]],
    ["quarantine list", ["quarantine"]],
    ["quarantine decision", ["quarantine decision"]],
  ])("of %s", (kind, titles) => {
    const documented = documentedShape(...titles);
    const documents = printed.get(kind) ?? [];
    expect(documents.length).toBeGreaterThan(1);
    expect(listed(printedShape(documents, documented))).toEqual(listed(documented));
  });

  test("of run, which is a status without what only a second process can say", () => {
    const documented = documentedShape("run");
    const shape = printedShape(printed.get("run") ?? [], documented);
    expect([...shape.leaves.keys()].sort()).toEqual([...documented.leaves.keys()].sort());
    expect([...shape.optional].filter((path) => !documented.optional.has(path))).toEqual([]);
  });

  test("of assess: nothing that the page does not have", () => {
    const documented = documentedShape("assess");
    const shape = printedShape(printed.get("assess")!, documented);
    const unknown = [...shape.leaves].filter(
      ([path, types]) => ![...types].every((type) => documented.leaves.get(path)?.has(type)),
    );
    expect(unknown).toEqual([]);
    expect([...shape.optional].filter((path) => !documented.optional.has(path))).toEqual([]);
  });

  // All of it with the larger budget only, because a demo takes a minute; see json-types.test.ts.
  test.each(NIGHTLY ? ["demo"] : [])("of %s, and the README shows what it tells", async () => {
    const { stdout, stderr } = await runCli(["demo", "--json"], { timeoutMs: 900_000 });
    const documented = documentedShape("demo");
    expect(listed(printedShape([JSON.parse(stdout)], documented))).toEqual(listed(documented));
    const plain = (line: string): string => line.trim().replaceAll(/[\dA-F][\dA-F,./]*/g, "N");
    const told = new Set(stderr.split("\n").map(plain));
    const [shown] = codeBlocks(page("README.md")).filter(({ language }) => language === "text");
    expect(shown!.code.split("\n").filter((line) => !told.has(plain(line)))).toEqual([]);
  });
});

test("a command that fails prints no document", async () => {
  const { stdout, stderr, exitCode } = await banyan("history", "item-99");
  expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 4 });
  expect(stderr).toContain("[STREAM_UNKNOWN]");
});

/** Everything that gives a document other fields, once. */
async function bringAbout(): Promise<void> {
  await legacy.query(`CREATE TABLE item (id int PRIMARY KEY, label text, price int, kind text,
       shout text GENERATED ALWAYS AS (label || '!') STORED)`);
  await legacy.query("INSERT INTO item SELECT n, 'label', n, 'a' FROM generate_series(1, 6) n");
  await note("assess", "assess", legacy.url);
  await note("check", "check");
  await legacy.query("CREATE TABLE part (id int PRIMARY KEY, item_id int NOT NULL)");
  using broken = configFolder(BROKEN);
  const inBroken = ["--config", `${broken.directory}/banyan.config.ts`];
  await note("check", "check", "--explain", ...inBroken);
  using wrong = configFolder(CONFIG.replace('"ItemAmended"', '"Sorted"'));
  await note("check", "check", "--config", `${wrong.directory}/banyan.config.ts`);
  await legacy.query("DROP TABLE part");
  await legacy.query(`CREATE PUBLICATION banyan_${NAME} FOR TABLE item`);
  await note("check", "check", "--runs", "10");

  await banyanWith({ BANYAN_FAILPOINT: "baseline-before-commit" }, "run");
  const nowhere = { LEGACY_URL: "postgres://nobody@127.0.0.1:1/nothing" };
  await noteWith(nowhere, "status", "status");
  await note("run", "run", "--until-caught-up");
  await note("status", "status");
  await note("state", "state", "item-1", "--at", "2000-01-01T00:00:00Z");
  await legacy.query("CREATE TABLE extra (id int PRIMARY KEY)");
  const extra = 'extra: stream(table("extra"), { otherwise: "ExtraAmended" })';
  using more = configFolder(
    CONFIG.replace("events: {", "events: { Repriced: updated(item, { price: changes() }),").replace(
      "streams: {",
      `streams: { ${extra},`,
    ),
  );
  await note("check", "check", "--runs", "10", "--config", `${more.directory}/banyan.config.ts`);
  await legacy.query("DROP TABLE extra");

  const first = await start();
  await note("verify", "verify");
  await legacy.query("BEGIN; INSERT INTO item VALUES (7, 'new', 7, 'a'); COMMIT");
  const said = { actor: "a", correlationId: "b", causationId: "c", reason: "d" };
  await legacy.query(
    `BEGIN; SELECT pg_logical_emit_message(true, 'banyan', '${JSON.stringify(said)}');
     UPDATE item SET label = 'said' WHERE id = 1; DELETE FROM item WHERE id = 2; COMMIT`,
  );
  // So often that the status suggests rules for it.
  await legacy.query("INSERT INTO item SELECT n, 'many', n, 'a' FROM generate_series(101, 112) n");
  await legacy.query("UPDATE item SET price = price + 1 WHERE id > 100");
  await legacy.query("DELETE FROM item WHERE id > 100");
  // One after the other, because what the catalogue says is looked up when the log shows a new shape.
  for (const sql of [
    "ALTER TABLE item ADD extra text; UPDATE item SET extra = 'x' WHERE id = 3",
    "ALTER TABLE item RENAME extra TO more; UPDATE item SET more = 'r' WHERE id = 3",
    "ALTER TABLE item ALTER price TYPE text; UPDATE item SET price = 'y' WHERE id = 3",
    "ALTER TABLE item DROP kind; UPDATE item SET more = 'z' WHERE id IN (3, 4)",
  ]) {
    await captured();
    await legacy.query(sql);
  }
  await until("a stream waits", "SELECT FROM banyan.quarantine");
  await until(
    "the status suggests rules",
    "SELECT FROM banyan.pipelines WHERE jsonb_array_length(status->'coverage'->'suggestions') > 1",
  );
  // Asked for when the config still had such streams.
  await events.query(
    `INSERT INTO banyan.rebaselines (pipeline_id, stream_id, reason)
     SELECT id, 'gone-1', 'a test' FROM banyan.pipelines WHERE name = '${NAME}';
     UPDATE banyan.pipelines SET quarantine_generation = quarantine_generation + 1 WHERE name = '${NAME}'`,
  );
  await until(
    "the status tells of what could not be read anew",
    "SELECT FROM banyan.pipelines WHERE jsonb_array_length(status->'notReadAnew') > 0",
  );
  await note("status", "status");
  await note("rebaseline withdrawal", "rebaseline", "--withdraw");
  await note("quarantine list", "quarantine", "list");
  printed.get("run")!.push(JSON.parse(await stop(first)));

  folder[Symbol.dispose]();
  folder = configFolder(CONFIG.replace(", Sorted: updated(item, { kind: changes() })", ""));
  const second = await start();
  await note("verify", "verify");
  await note("quarantine decision", "quarantine", "skip", "item-3");
  await note("quarantine decision", "quarantine", "retry");
  printed.get("run")!.push(JSON.parse(await stop(second)));
  await note("quarantine list", "quarantine", "list");
  await note("history", "history", "item-1");
  await note("state", "state", "item-1");
  await note("state", "state", "item-2");
  await note("state", "state", "item-7", "--at", "2000-01-01T00:00:00Z");
  await events.query(
    `INSERT INTO banyan.events (event_id, time, version, origin, stream_id, type, data)
     VALUES (gen_random_uuid(), now(), 1, 'native', 'note-1', 'NoteTaken', '{}')`,
  );
  await note("history", "history", "note-1");

  // Changes that the log does not show: rows and folds differ in every way.
  await legacy.query(`ALTER PUBLICATION banyan_${NAME} DROP TABLE item`);
  await banyan("run");
  await events.query(
    `INSERT INTO banyan.reverse_progress (pipeline, epoch) VALUES ('${NAME}', 1);
     INSERT INTO banyan.reverse_conflicts (pipeline, stream_id, version, table_name, row_key, columns, reason)
     VALUES ('${NAME}', 'item-1', 3, 'public.item', '1', '{label}', 'somebody else has changed the row')`,
  );
  await note("status", "status");
  await legacy.query(
    "UPDATE item SET more = NULL WHERE id = 4; UPDATE item SET more = 'w' WHERE id = 5",
  );
  await legacy.query("DELETE FROM item WHERE id = 6; INSERT INTO item VALUES (8, 'unseen')");
  await legacy.query(`ALTER PUBLICATION banyan_${NAME} ADD TABLE item`);
  const third = await start();
  await events.query(
    "INSERT INTO banyan.reverse_conflicts SELECT $1, 'item-4', 2, 'public.item', '4', '{label}', 'changed by somebody else'",
    [NAME],
  );
  // An event that nothing leads to.
  await events.query(
    `INSERT INTO banyan.events (event_id, time, version, origin, stream_id, type, mapping_version, data)
     SELECT gen_random_uuid(), now(), 3, 'capture', 'item-5', 'ItemAmended', max(version),
            '{"$row": "item", "$op": "update", "id": 5, "label": "label", "$was": {"label": "other"}}' FROM banyan.mappings`,
  );
  await note("verify", "verify");
  await events.query("DELETE FROM banyan.reverse_conflicts");
  await legacy.query("UPDATE item SET label = 'seen' WHERE id = 4");
  printed.set("verify --watch", await watched());
  await stop(third);
}

/** A sweep and at least one look at what changed. */
async function watched(): Promise<unknown[]> {
  const args = ["verify", "--watch", "--check-every", "1", "--wait", "2", "--json"];
  const running = startCli(args, { cwd: folder.directory, env });
  const deadline = Date.now() + WAIT_MS_MAX;
  const lines = (): string[] => running.stdout().split("\n").slice(0, -1);
  while (lines().length < 3) {
    if (running.child.exitCode !== null || Date.now() > deadline) throw new Error(running.stderr());
    await sleep(50);
  }
  await stop(running);
  return lines().map((line) => JSON.parse(line) as unknown);
}

function note(kind: string, ...args: readonly string[]): Promise<void> {
  return noteWith({}, kind, ...args);
}

async function noteWith(
  more: Readonly<Record<string, string>>,
  kind: string,
  ...args: readonly string[]
): Promise<void> {
  const { stdout, stderr } = await banyanWith(more, ...args);
  if (stdout === "") throw new Error(`banyan ${args.join(" ")} printed no document: ${stderr}`);
  printed.set(kind, [...(printed.get(kind) ?? []), JSON.parse(stdout)]);
}

function banyan(...args: readonly string[]): ReturnType<typeof runCli> {
  return banyanWith({}, ...args);
}

function banyanWith(
  more: Readonly<Record<string, string>>,
  ...args: readonly string[]
): ReturnType<typeof runCli> {
  return runCli([...args, "--json"], { cwd: folder.directory, env: { ...env, ...more } });
}

async function start(): Promise<RunningCli> {
  const running = startCli(["run", "--json"], { cwd: folder.directory, env });
  const deadline = Date.now() + WAIT_MS_MAX;
  while (!running.stderr().includes("tail: ")) {
    if (running.child.exitCode !== null || Date.now() > deadline) throw new Error(running.stderr());
    await sleep(50);
  }
  return running;
}

async function stop(running: RunningCli): Promise<string> {
  running.child.kill("SIGINT");
  return (await running.ended).stdout;
}

/** Waits until the pipeline has all that was committed by now. */
async function captured(): Promise<void> {
  const { rows } = await legacy.query("SELECT pg_current_wal_lsn() - '0/0' AS bytes");
  const goal = BigInt((rows[0] as { bytes: string }).bytes)
    .toString(16)
    .toUpperCase();
  const digits = goal.padStart(16, "0");
  await until("captured", `SELECT FROM banyan.pipelines WHERE checkpoint >= '${digits}'`);
}

async function until(what: string, sql: string): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  while ((await events.query(sql)).rowCount === 0) {
    if (Date.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX / 1000} s: ${what}`);
    await sleep(50);
  }
}
