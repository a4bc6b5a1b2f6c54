import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openHelpdesk, stop, type Helpdesk } from "../support/e2e-helpdesk.ts";
import type { RunningCli } from "../support/cli.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";

/*
 * Differences that the log does not tell: the tables leave the publication while the capture stands,
 * rows are changed, added and removed behind its back, and the tables come back.
 */

const SECRET = "4111 1111 1111 1111";

let desk: Helpdesk;
let running: RunningCli;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "verify_finds" });
  await desk.legacy.query(
    `INSERT INTO tickets (title, assignee) SELECT 'Ticket ' || n, 'Ines' FROM generate_series(3, 60) n;
     INSERT INTO comments (ticket_id, body) SELECT id, 'Seen' FROM tickets WHERE id > 10`,
  );
  running = await desk.run();
});
afterAll(() => desk?.[Symbol.asyncDispose]());

async function events(): Promise<number> {
  const { rows } = await desk.events.query("SELECT count(*)::int AS count FROM banyan.events");
  return (rows as { count: number }[])[0]!.count;
}

/** The verdict and the exit code. */
async function verify(options = ""): Promise<{ exitCode: number | null; report: ParityReport }> {
  const { exitCode, stdout } = await desk.banyan(`verify --json ${options}`);
  return { exitCode, report: JSON.parse(stdout) as ParityReport };
}

test("rows that equal their events are equal, and how many were compared is said", async () => {
  await desk.legacy.query("UPDATE tickets SET status = 'resolved' WHERE id = 5");
  const { exitCode, report } = await verify();
  expect(exitCode).toBe(0);
  expect(report).toMatchObject({
    state: "equal",
    reasons: [],
    compared: 111,
    present: 111,
    samples: [],
    nextSteps: [],
  });
  expect((await desk.banyan("verify")).stdout).toMatch(
    /✓ equal: 111 rows of 111 compared at [0-9A-F]{16}\/[0-9A-F]{8}\n$/,
  );
});

test("every row that was changed, added or removed behind its back is found, and no other", async () => {
  await stop(running);
  const publication = `banyan_${desk.name}`;
  await desk.legacy.query(`ALTER PUBLICATION ${publication} DROP TABLE tickets, comments`);
  await desk.legacy.query(
    `UPDATE tickets SET title = '${SECRET}', assignee = NULL WHERE id = 7;
     UPDATE comments SET body = 'Not seen' WHERE ticket_id = 20;
     DELETE FROM tickets WHERE id = 8;
     INSERT INTO tickets (id, title) VALUES (99, 'Unheard of');
     INSERT INTO comments (ticket_id, body) VALUES (9, 'Unheard of too')`,
  );
  await desk.legacy.query(`ALTER PUBLICATION ${publication} ADD TABLE tickets, comments`);
  running = await desk.run();
  const { exitCode, report } = await verify();
  expect(exitCode).toBe(1);
  expect(report).toMatchObject({ state: "different", missing: 2, extra: 1, different: 2 });
  expect(report.tables).toMatchObject([
    { table: "public.tickets", missing: 1, extra: 1, different: 1 },
    { table: "public.comments", missing: 1, extra: 0, different: 1 },
  ]);
  const found = report.samples.map(({ verdict, table, stream, columns }) =>
    [verdict, table, stream, ...columns.map(({ column }) => column)].join(" "),
  );
  expect(found.sort()).toEqual([
    "different public.comments ticket-20 body",
    "different public.tickets ticket-7 title assignee",
    "extra public.tickets ticket-8",
    "missing public.comments ticket-9",
    "missing public.tickets ticket-99",
  ]);
});

test("values are told by their length only, unless they are asked for", async () => {
  const { stdout } = await desk.banyan("verify");
  expect(stdout).toMatch(/✗ different: 2 missing, 1 extra, 2 different of \d+ rows at /);
  expect(stdout).toContain(
    "  different: public.tickets 7 (ticket-7)\n" +
      "    title: row ‹19 characters›, fold ‹8 characters›\n" +
      "    assignee: row NULL, fold ‹4 characters›\n",
  );
  expect(stdout).toMatch(
    /\nnext: banyan history \S+ {2}\| {2}banyan verify --show-values {2}\| {2}banyan verify --repair\n$/,
  );
  const hidden = stdout + JSON.stringify((await verify()).report);
  for (const value of [SECRET, "Ticket 7", "Ines", "Not seen", "Unheard"])
    expect(hidden).not.toContain(value);

  const shown = (await desk.banyan("verify --show-values")).stdout;
  expect(shown).toContain(
    `    title: row ${SECRET}, fold Ticket 7\n    assignee: row NULL, fold Ines\n`,
  );
  const { exitCode, report } = await verify("--show-values");
  expect(exitCode).toBe(1);
  const body = report.samples.find(({ stream }) => stream === "ticket-20")!.columns;
  expect(body).toEqual([{ column: "body", row: "Not seen", fold: "Seen" }]);
  expect(report.nextSteps).not.toContain("banyan verify --show-values");
});

test("the report is a page as well, with names and without values, that runs and loads nothing", async () => {
  const { exitCode, stderr } = await desk.banyan("verify --html report.html");
  expect(exitCode).toBe(1);
  expect(stderr).toContain("wrote report.html");
  const page = readFileSync(join(desk.directory, "report.html"), "utf8");
  expect(page).toContain("5 rows and their events do not agree");
  for (const name of ["ticket-7", "title", "assignee", "ticket-99", "banyan verify --repair"])
    expect(page).toContain(name);
  for (const value of [SECRET, "Ines", "Not seen"]) expect(page).not.toContain(value);
  expect(page).not.toMatch(/<script|src=|https?:/);
  const nowhere = await desk.banyan("verify --html nowhere/report.html");
  expect(nowhere.exitCode).toBe(2);
  expect(nowhere.stderr).toContain("nowhere/report.html cannot be written");
});

test("status tells what the last verification found", async () => {
  const { stdout } = await desk.banyan("status --json");
  const { parity } = JSON.parse(stdout) as { parity: Record<string, unknown> };
  expect(parity).toMatchObject({ state: "different", missing: 2, extra: 1, different: 2 });
  expect(parity).toMatchObject({ stale: false, findings: { open: 5, settled: 5 } });
  expect((await desk.banyan("status")).stdout).toMatch(
    /parity\s+different: 2 missing, 1 extra, 2 different \(5 settled\), \d+ rows compared \d+ s ago/,
  );
});

test("a run serves the same for Prometheus", async () => {
  await stop(running);
  running = await desk.run("--metrics 0");
  const [, url] = /metrics at (http:\/\/127\.0\.0\.1:\d+\/metrics)\n/.exec(running.stderr())!;
  const text = await (await fetch(url!)).text();
  expect(text).toContain(`banyan_phase{pipeline="${desk.name}",phase="tail"} 1`);
  expect(text).toContain(`banyan_parity{pipeline="${desk.name}",state="different"} 1`);
  expect(text).toContain(`banyan_parity_findings{pipeline="${desk.name}",settled="yes"} 5`);
  const refused = await desk.banyan("run --metrics nowhere");
  expect([refused.exitCode, refused.stdout]).toEqual([2, ""]);
});

test("fewer samples change what is shown, not what is found", async () => {
  const { exitCode, report } = await verify("--samples 0");
  expect(exitCode).toBe(1);
  expect(report).toMatchObject({ missing: 2, extra: 1, different: 2, samples: [] });
});

test("what the same columns become later mends the difference", async () => {
  await desk.legacy.query(
    `UPDATE tickets SET title = 'Ticket 7, renamed', assignee = 'Ada' WHERE id = 7;
     UPDATE comments SET body = 'Seen by all' WHERE ticket_id = 20`,
  );
  const { exitCode, report } = await verify();
  expect({ exitCode, different: report.different }).toEqual({ exitCode: 1, different: 0 });
  expect(report).toMatchObject({ missing: 2, extra: 1 });
});

test("a repair says what it will do, and does nothing where nobody can be asked", async () => {
  const { exitCode, stderr } = await desk.banyan("verify --repair");
  expect(exitCode).toBe(2);
  expect(stderr).toContain("extra: public.tickets 8 (ticket-8)");
  expect(stderr).toMatch(/3 streams of \w+: each is read anew/);
  expect(stderr).toContain("next: Run it again with --yes");
  expect((await verify()).report).toMatchObject({ missing: 2, extra: 1 });
});

test("a repair reads just those aggregates anew, says so in their history, and ends equal", async () => {
  const before = await events();
  const { exitCode, stdout } = await desk.banyan("verify --repair --yes --json");
  expect(exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ state: "equal", missing: 0, extra: 0, different: 0 });
  expect((await events()) - before).toBe(3);
  const { stdout: history } = await desk.banyan("history ticket-8");
  expect(history).toContain("TicketHistoryGapped");
  expect((await desk.banyan("state ticket-99")).stdout).toContain("Unheard of");
  // Nothing is left to do.
  expect((await desk.banyan("verify --repair --yes")).exitCode).toBe(0);
  expect((await events()) - before).toBe(3);
});

test("a repair reads nothing anew for a reverse conflict, and says so", async () => {
  const before = await events();
  await desk.events.query(
    `INSERT INTO banyan.reverse_conflicts VALUES
       ('${desk.name}', 'ticket-5', 1, 'public.tickets', '5', '{title}', 'the row was changed by somebody else')`,
  );
  const { exitCode, stderr } = await desk.banyan("verify --repair --yes");
  expect(exitCode).toBe(1);
  expect(stderr).toContain("only reverse conflicts are left, which nothing is read anew for");
  expect(stderr).not.toContain("differs again");
  expect((await events()) - before).toBe(0);
  await desk.events.query("DELETE FROM banyan.reverse_conflicts");
});

test("an event that is lost in the midst of a history is named by what comes behind it, and a repair settles it", async () => {
  for (const title of ["Lost", "Kept"])
    await desk.legacy.query(`UPDATE tickets SET title = '${title}' WHERE id = 6`);
  await desk.captured();
  // Nobody but the owner can, and only like this.
  await desk.events.query(`
    BEGIN;
    ALTER TABLE banyan.events DISABLE TRIGGER ALL;
    DELETE FROM banyan.events WHERE stream_id = 'ticket-6' AND data->>'title' = 'Lost';
    ALTER TABLE banyan.events ENABLE ALWAYS TRIGGER events_append_only_rows;
    ALTER TABLE banyan.events ENABLE ALWAYS TRIGGER events_append_only_table;
    COMMIT`);
  const { exitCode, stdout } = await desk.banyan("verify --refold --html flaws.html");
  expect(exitCode).toBe(1);
  expect(stdout).toContain("✗ different: 0 missing, 0 extra, 0 different of");
  expect(stdout).toContain(`
  1 stream has events that do not follow on from each other
  the store lacks 1 event that its pipelines have written
  hole: before ticket-6 version 3
  broken: ticket-6 version 3 does not follow from the events before it: public.tickets 6 (title)
next: banyan history ticket-6  |  banyan verify --repair
`);
  const page = readFileSync(join(desk.directory, "flaws.html"), "utf8");
  expect(page).toContain("The events fold to the rows, but do not follow on from each other");
  expect(page).toContain("It does not follow from the events before it");
  const repaired = await desk.banyan("verify --repair --yes --json");
  expect(repaired.exitCode).toBe(0);
  const equal = { state: "equal", history: { streams: 0, untold: 0, samples: [] } };
  expect(JSON.parse(repaired.stdout)).toMatchObject(equal);
  expect((await verify("--refold")).report).toMatchObject(equal);
});

test("an event that no stream lacks is missed by its number, which a repair notes", async () => {
  await desk.legacy.query("UPDATE tickets SET title = 'Last' WHERE id = 6");
  await desk.captured();
  await desk.events.query("UPDATE banyan.pipelines SET events = events + 1");
  const found = await desk.banyan("verify");
  expect(found.exitCode).toBe(1);
  expect(found.stdout).toContain("the store lacks 1 event that its pipelines have written");
  const { stderr } = await desk.banyan("verify --repair --yes");
  expect(stderr).toContain("No stream shows which events these are");
  expect((await verify()).report.state).toBe("equal");
});

test("a watch goes on until it is stopped, and tells each thing once", async () => {
  const watching = desk.start("verify --watch --check-every 1");
  const line = async (pattern: RegExp): Promise<void> => {
    const deadline = Date.now() + 60_000;
    while (!pattern.test(watching.stdout())) {
      if (watching.child.exitCode !== null || Date.now() > deadline)
        throw new Error(`in vain for ${pattern}:\n${watching.stdout()}${watching.stderr()}`);
      await sleep(50);
    }
  };
  await line(/Z {2}✓ equal \(sweep\); no findings\n/);
  await desk.legacy.query("UPDATE tickets SET status = 'closed' WHERE id = 5");
  await line(/Z {2}✓ equal \(changes\); no findings\n/);
  await sleep(2_500);
  expect(watching.stdout().split("\n")).toHaveLength(3);
  // A server that ends its sessions, as at a restart, is waited for.
  await desk.events.query(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()",
  );
  await desk.legacy.query("UPDATE tickets SET status = 'reopened' WHERE id = 5");
  await sleep(2_500);
  expect(watching.child.exitCode).toBeNull();
  watching.child.kill("SIGINT");
  expect((await watching.ended).exitCode).toBe(0);
});

test("a pipeline that does not come to the mark is no verdict, and never equal", async () => {
  await stop(running);
  const { exitCode, report } = await verify("--wait 0");
  expect(exitCode).toBe(4);
  expect(report).toMatchObject({ state: "inconclusive", compared: 0, tables: [] });
  expect(report.reasons).toHaveLength(1);
  expect(report.reasons[0]).toMatch(/did not reach the fence .* within 0 s; it stands at /);
  const { stdout } = await desk.banyan("verify --wait 0");
  expect(stdout).toMatch(/^\? could not tell at [^]*\nnext: banyan status {2}\| {2}banyan run\n$/);
});
