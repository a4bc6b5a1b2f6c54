import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { documentedShape, listed, printedShape } from "../docs/json-shape.ts";
import { noteWrites, propose } from "../support/dual-rows.ts";
import { configOf, openHelpdesk, stop, type Helpdesk } from "../support/e2e-helpdesk.ts";
import type { RunningCli } from "../support/cli.ts";
import type { Proposal, ShadowWrite } from "../../src/store/dual-store.ts";
import type { DualReport } from "../../src/verify/dual/dual-report.ts";

/*
 * Requests that both sides were asked, as a proxy and a service in shadow leave them in the store, and
 * what `banyan verify --dual` makes of them while the capture runs and no daemon does.
 */

let desk: Helpdesk;
let running: RunningCli;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "verify_dual" });
  desk.writeConfig(
    configOf(desk.name).replace(
      "limits: {",
      `dual: { windowSeconds: 1, normalise: { ticket: { ignore: ["updated_at"] } } },\n  limits: {`,
    ),
  );
  running = await desk.run();
}, 120_000);
afterAll(() => desk?.[Symbol.asyncDispose]());

const SECRET = "4111 1111 1111 1111";

/** @param sql what legacy does; none when it refuses */
async function ask(
  id: string,
  sql: string | undefined,
  proposal: Proposal | undefined,
  more: Partial<ShadowWrite> = {},
): Promise<void> {
  const askedAtMs = Date.now();
  if (proposal !== undefined)
    await propose(desk.events, desk.name, [{ correlationId: id, ...proposal }]);
  if (sql !== undefined)
    await desk.legacy.query(
      `BEGIN; SELECT pg_logical_emit_message(true, 'banyan', '{"correlationId": "${id}"}'); ${sql}; COMMIT`,
    );
  const status = sql === undefined ? 409 : 200;
  await noteWrites(desk.events, desk.name, [
    {
      correlationId: id,
      streamType: "ticket",
      stream: "ticket-1",
      route: "POST /tickets/:id/assign",
      legacyStatus: status,
      newStatus: status,
      askedAtMs,
      answeredAtMs: Date.now(),
      ...more,
    },
  ]);
  // What is asked in the millisecond of an answer is under way beside it.
  await sleep(2);
}

const assigning = (assignee: string, decidedOn: number): Proposal => ({
  stream: "ticket-1",
  decidedOn,
  events: [
    { type: "TicketAssigned", data: { id: "1", assignee, updated_at: "2026-01-01T00:00:00Z" } },
  ],
});
const assigned = (assignee: string): string =>
  `UPDATE tickets SET assignee = '${assignee}', updated_at = now() WHERE id = 1`;

const nulled: Proposal = {
  stream: "ticket-1",
  decidedOn: 4,
  events: [{ type: "TicketAssigned", data: { id: "1", assignee: null } }],
};

async function verify(
  options: string,
): Promise<{ exitCode: number | null; report: DualReport; stderr: string }> {
  const { exitCode, stdout, stderr } = await desk.banyan(`verify --dual --json ${options}`);
  return { exitCode, report: JSON.parse(stdout) as DualReport, stderr };
}

test("nothing that was asked is no pass", async () => {
  const { exitCode, report } = await verify("--judge-once");
  expect(exitCode).toBe(4);
  expect(report).toMatchObject({ state: "inconclusive", pass: 0, waiting: 0, routes: [] });
});

test("writes on which both sides agree pass, and what waits is told until it is judged", async () => {
  await ask("r1", assigned("Ines"), assigning("Ines", 1));
  const early = await verify("");
  expect(early.exitCode).toBe(4);
  expect(early.report).toMatchObject({ state: "inconclusive", waiting: 1 });
  const { exitCode, report } = await verify("--judge-once");
  expect({ exitCode, report }).toMatchObject({
    exitCode: 0,
    report: { state: "pass", pass: 1, fail: 0, waiting: 0, samples: [], nextSteps: [] },
  });
  expect((await desk.banyan("verify --dual")).stdout).toMatch(
    /ticket +POST \/tickets\/:id\/assign +1 +0 +0 +0\n\n✓ pass: 1 pass, 0 fail, 0 inconclusive, 0 waiting, since .*\n {2}1 same-state: both sides fold to the same rows\n$/,
  );
});

test("a failure is told side by side, its values only when they are asked for", async () => {
  await ask("r2", assigned(SECRET), assigning("Omar", 2));
  await ask("r3", undefined, { stream: "ticket-1", decidedOn: 3, events: [] }, { newStatus: 200 });
  const hidden = await verify("--judge-once");
  expect(hidden.exitCode).toBe(1);
  expect(hidden.report).toMatchObject({ state: "fail", pass: 1, fail: 2 });
  expect(JSON.stringify(hidden.report)).not.toMatch(/4111|Omar/);
  const shown = await verify("--show-values");
  const sample = shown.report.samples.find(({ correlationId }) => correlationId === "r2")!;
  expect(sample).toMatchObject({
    reason: "state-differs",
    partings: [
      { role: "ticket", columns: [{ column: "assignee", legacy: SECRET, proposed: "Omar" }] },
    ],
  });
  const { stdout } = await desk.banyan("verify --dual --show-values --samples 1");
  expect(stdout).toContain("✗ fail: 1 pass, 2 fail, 0 inconclusive, 0 waiting");
  const text = (await desk.banyan("verify --dual --show-values")).stdout;
  expect(text).toMatch(
    /ticket-1 became, behind version 2 +ticket-1 would have become\n.*TicketAssigned +TicketAssigned\n/s,
  );
  expect(text).toContain(`ticket 1, assignee: legacy ${SECRET}, service Omar`);
  expect(text).toContain("refused-by-legacy: the service accepted what legacy refused");
  expect(text.match(/next: (.*)/)?.[1]).toBe(
    "banyan history ticket-1  |  banyan verify --dual --show-values",
  );
  expect((await verify("--samples 1")).report.samples).toHaveLength(1);

  const unassigned = "UPDATE tickets SET assignee = NULL, updated_at = now() WHERE id = 1";
  await ask("r4", unassigned, assigning("Ada", 3));
  await desk.captured();
  await ask("r5", assigned("Ada"), nulled);
  await desk.captured();
  // Answered before the change was there, so that nobody can say that the service knew of it.
  await ask("r6", assigned("Eve"), undefined, { newStatus: 404, answeredAtMs: Date.now() });
  const { report } = await verify("--judge-once --show-values");
  const documented = documentedShape("verify --dual");
  expect(listed(printedShape([report, hidden.report], documented))).toEqual(listed(documented));
});

test("what was asked long ago is left out, and without a capture nothing new is said", async () => {
  await desk.events.query(
    "UPDATE banyan.shadow_writes SET asked_at = asked_at - interval '2 h' WHERE verdict = 'fail'",
  );
  expect((await verify("--since 1h")).report).toMatchObject({ state: "pass", pass: 1, fail: 0 });
  expect((await verify("--since 3h")).exitCode).toBe(1);
  await stop(running);
  const { exitCode, stderr } = await verify("--since 1h");
  expect(exitCode).toBe(0);
  expect(stderr).toContain("the pipeline does not run");
});

test("options that mean nothing together are refused", async () => {
  const refused = [
    ["verify --judge-once", "--judge-once is for --dual"],
    ["verify --dual --watch", "--watch and --dual cannot be given together"],
    ["verify --dual --since yesterday", "--since is a number with its unit, as 30min, 1h or 2d"],
  ] as const;
  for (const [args, message] of refused) {
    const { exitCode, stderr } = await desk.banyan(args);
    expect({ exitCode, stderr }).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining(message) as string,
    });
  }
});
