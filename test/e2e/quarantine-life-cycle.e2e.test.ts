import { afterAll, beforeAll, expect, test } from "vitest";
import { expectTold, openHelpdesk, stop, until, type Helpdesk } from "../support/e2e-helpdesk.ts";
import type { RunningCli } from "../support/cli.ts";

/*
 * A change that cannot be mapped, from the day it comes to the day it is forgotten, with nothing but
 * the commands. While BROKEN is set, the mapping does not understand titles with that text.
 */

let desk: Helpdesk;
let running: RunningCli;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "quarantine" });
  running = await desk.run("", { BROKEN: "odd" });
});
afterAll(() => desk?.[Symbol.asyncDispose]());

interface Parked {
  readonly parked: readonly Readonly<Record<string, string>>[];
}

async function listed(stream = ""): Promise<Parked["parked"]> {
  const { exitCode, stdout } = await desk.banyan(`quarantine list ${stream} --json`);
  expect(exitCode).toBe(0);
  return (JSON.parse(stdout) as Parked).parked;
}

async function document<T>(line: string, exitCode: number): Promise<T> {
  const result = await desk.banyan(`${line} --json`);
  expect({ exitCode: result.exitCode, stderr: result.stderr }).toMatchObject({ exitCode });
  return JSON.parse(result.stdout) as T;
}

interface Verdict {
  readonly state: string;
  readonly reasons: readonly string[];
  readonly excluded: { readonly streams: number; readonly rows: number };
  readonly different: number;
  readonly missing: number;
  readonly extra: number;
  readonly samples: readonly { verdict: string; key: string; columns: { column: string }[] }[];
  readonly nextSteps: readonly string[];
}

test("an empty quarantine is said to be empty, and there is nothing to decide", async () => {
  expect(await desk.banyan("quarantine list")).toMatchObject({
    exitCode: 0,
    stdout: "quarantine is empty\n",
  });
  expect(await document("quarantine retry", 0)).toEqual({ action: "retry", streams: 0 });
  expect((await desk.banyan("quarantine skip ticket-1")).stdout).toBe(
    "nothing in quarantine matches\n",
  );
});

test("what cannot be mapped waits with its reason, and what comes after it in its stream", async () => {
  await desk.legacy.query("UPDATE tickets SET title = 'odd printer' WHERE id = 1");
  await desk.legacy.query("INSERT INTO comments (ticket_id, body) VALUES (1, 'a private word')");
  await desk.legacy.query("UPDATE tickets SET title = 'odd VPN' WHERE id = 2");
  await desk.legacy.query("INSERT INTO tickets (title) VALUES ('Mouse')");
  await desk.captured();
  expect(await listed()).toMatchObject([
    {
      stream: "ticket-1",
      table: "public.tickets",
      operation: "update",
      code: "VALUE_UNMAPPABLE",
      reason: '"where" of rule TicketRenamed threw: such titles are not understood yet',
      decision: "none",
    },
    { stream: "ticket-1", table: "public.comments", code: "BEHIND_QUARANTINE" },
    { stream: "ticket-2", code: "VALUE_UNMAPPABLE" },
  ]);
  const text = (await desk.banyan("quarantine list")).stdout;
  expect(text).toContain(
    "next: banyan quarantine retry [stream]  |  banyan quarantine skip <stream>",
  );
  // What was parked is told by its place, not by its values.
  expect(text + JSON.stringify(await listed())).not.toMatch(/odd printer|a private word/);
  // The other streams go on.
  expect((await desk.banyan("history ticket-3")).stdout).toContain("TicketOpened");
});

test("meanwhile status counts it, and verify could not tell", async () => {
  const status = await document<Record<string, unknown>>("status", 0);
  expect(status).toMatchObject({
    running: true,
    quarantine: { streams: 2 },
    ledger: { changesIn: 4, changesParked: 3, changesClaimed: 1 },
  });
  const verdict = await document<Verdict>("verify", 4);
  expect(verdict).toMatchObject({
    state: "inconclusive",
    reasons: ["2 streams wait in quarantine and were not compared"],
    excluded: { streams: 2, rows: 4 },
    nextSteps: ["banyan quarantine list"],
  });
  expect((await desk.banyan("verify")).stdout).toContain("? could not tell");
});

test("a retry with the same mapping parks it again, with nothing lost", async () => {
  const before = await listed();
  expect(await document("quarantine retry ticket-1", 0)).toEqual({ action: "retry", streams: 1 });
  await until(
    "it was tried again",
    async () => (await listed("ticket-1"))[0]?.["decision"] === "none",
  );
  const after = await listed();
  expect(after.map(placed).sort()).toEqual(before.map(placed).sort());
});

test("after mending, a retry of one stream maps all of it in its order", async () => {
  await stop(running);
  running = await desk.run("", { BROKEN: "odd VPN" });
  await desk.banyan("quarantine retry ticket-1");
  await until("it is mapped", async () => (await listed("ticket-1")).length === 0);
  const history = (await desk.banyan("history ticket-1")).stdout;
  expect(history).toMatch(
    /^ticket-1: 3 events\n[^]*TicketBaselined[^]*TicketRenamed[^]*→ odd printer[^]*CommentWritten[^]*a private word/,
  );
  expect(await listed()).toMatchObject([{ stream: "ticket-2" }]);
  expect(await document<Verdict>("verify", 4)).toMatchObject({ excluded: { streams: 1 } });
});

test("skip names its stream, and says that it waits for the next run where none runs", async () => {
  expectTold(await desk.banyan("quarantine skip"), {
    exitCode: 2,
    code: "USAGE",
    says: /lost to history/,
    next: /banyan quarantine skip <stream>/,
  });
  await stop(running);
  const { exitCode, stdout } = await desk.banyan("quarantine skip ticket-2");
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: "1 stream: skip noted; a running pipeline does it at once, else the next banyan run\n",
  });
  expect(await listed()).toMatchObject([{ stream: "ticket-2", decision: "skip" }]);
});

test("what was skipped is missing from history, and verify names exactly that until it changes again", async () => {
  running = await desk.run();
  await until("it is skipped", async () => (await listed()).length === 0);
  expect((await desk.banyan("history ticket-2")).stdout).toMatch(/^ticket-2: 1 event\n/);
  expect(await document("status", 0)).toMatchObject({
    quarantine: { streams: 0 },
    ledger: { changesIn: 4, changesParked: 1, changesClaimed: 3 },
  });
  expect(await document<Verdict>("verify", 1)).toMatchObject({
    state: "different",
    different: 1,
    missing: 0,
    extra: 0,
    reasons: [],
    samples: [{ verdict: "different", key: "2", columns: [{ column: "title" }] }],
    nextSteps: ["banyan history ticket-2", "banyan verify --show-values", "banyan verify --repair"],
  });
  await desk.legacy.query("UPDATE tickets SET title = 'VPN drops again' WHERE id = 2");
  expect(await document<Verdict>("verify", 0)).toMatchObject({ state: "equal", reasons: [] });
  await stop(running);
});

function placed({ stream, code }: Parked["parked"][number]): string {
  return `${stream} ${code}`;
}
