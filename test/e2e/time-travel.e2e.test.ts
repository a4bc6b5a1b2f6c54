import { afterAll, beforeAll, expect, test } from "vitest";
import { openHelpdesk, type Helpdesk } from "../support/e2e-helpdesk.ts";

/*
 * What history and state say of an aggregate now, after each event, at a time, and before anything is
 * known of it. The times are those of the rows (`validTime`), so that they can be asked for exactly.
 */

let desk: Helpdesk;

beforeAll(async () => {
  desk = await openHelpdesk({ label: "time_travel" });
  await desk.legacy.query("UPDATE tickets SET updated_at = '2026-01-01T08:00:00Z'");
  await desk.banyan("run --until-caught-up");
  for (const sql of [
    `BEGIN; SELECT pg_logical_emit_message(true, 'banyan', '{"actor": "ines", "reason": "on call"}');
     UPDATE tickets SET assignee = 'Ines', updated_at = '2026-01-02T09:00:00.000001Z' WHERE id = 1; COMMIT`,
    "UPDATE tickets SET status = 'resolved', updated_at = '2026-01-03T10:00:00Z' WHERE id = 1",
    "INSERT INTO tickets (title, updated_at) VALUES ('Mouse', '2026-01-02T00:00:00Z')",
    "DELETE FROM tickets WHERE id = 2",
  ])
    await desk.legacy.query(sql);
  expect((await desk.banyan("run --until-caught-up")).exitCode).toBe(0);
});
afterAll(() => desk?.[Symbol.asyncDispose]());

interface StateDocument {
  readonly known: boolean;
  readonly says?: string;
  readonly exists?: boolean;
  readonly version?: number;
  readonly state: Readonly<Record<string, unknown>> | null;
}

async function state(line: string, exitCode = 0): Promise<StateDocument> {
  const result = await desk.banyan(`state ${line} --json`);
  expect({ line, exitCode: result.exitCode }).toEqual({ line, exitCode });
  return JSON.parse(result.stdout) as StateDocument;
}

test("history tells each event with its time, who did it and why, and what changed from what", async () => {
  const { exitCode, stdout } = await desk.banyan("history ticket-1");
  expect({ exitCode, stdout }).toEqual({
    exitCode: 0,
    stdout: `ticket-1: 3 events
   1  2026-01-01 08:00:00.000  TicketBaselined  [baseline]
        id: 1
        title: Printer on floor 3
        status: open
        comments: 0
        updated_at: 2026-01-01T08:00:00Z
   2  2026-01-02 09:00:00.000  TicketAssigned  (by ines, “on call”)
        assignee: nothing → Ines
        updated_at: 2026-01-01T08:00:00Z → 2026-01-02T09:00:00.000001Z
   3  2026-01-03 10:00:00.000  TicketResolved
        status: open → resolved
        updated_at: 2026-01-02T09:00:00.000001Z → 2026-01-03T10:00:00Z
`,
  });
});

test("state is that after the last event, after a version, or at a time", async () => {
  expect(await state("ticket-1")).toMatchObject({
    known: true,
    exists: true,
    version: 3,
    state: { id: "1", status: "resolved", assignee: "Ines", comments: [] },
  });
  expect(await state("ticket-1 --version 2")).toMatchObject({
    version: 2,
    state: { status: "open" },
  });
  expect(await state("ticket-1 --version 99")).toMatchObject({ version: 3 });
  const at = async (time: string): Promise<unknown> =>
    (await state(`ticket-1 --at ${time}`)).version;
  expect(await at("2026-01-02T09:00:00.000000Z")).toBe(1);
  expect(await at("2026-01-02T09:00:00.000001Z")).toBe(2);
  // As history shows it.
  expect(await at("2026-01-02T09:00:00.000Z")).toBe(2);
  expect(await at("2026-01-03T10:59:59.999+01:00")).toBe(2);
  expect(await at("2026-01-03T11:00:00+01:00")).toBe(3);
  expect(await at("2999-01-01")).toBe(3);
});

test("before its baseline an aggregate is unknown, which is a finding and not a state", async () => {
  expect(await state("ticket-1 --at 2025-12-31T23:59:59Z", 1)).toEqual({
    stream: "ticket-1",
    known: false,
    state: null,
    says: "unknown before 2026-01-01T08:00:00.000000Z",
  });
  const { stdout, exitCode } = await desk.banyan("state ticket-1 --at 2025-12-31");
  expect({ stdout, exitCode }).toEqual({
    stdout: "unknown before 2026-01-01T08:00:00.000000Z\n",
    exitCode: 1,
  });
});

test("before its first event what came later did not exist, and that is known", async () => {
  expect(await state("ticket-3 --at 2026-01-01T23:59:59Z")).toEqual({
    stream: "ticket-3",
    known: true,
    state: null,
    says: "did not exist before 2026-01-02T00:00:00.000000Z",
  });
});

test("what was removed is gone, and is still told as it was", async () => {
  expect(await state("ticket-2")).toMatchObject({ known: true, exists: false, state: null });
  expect((await desk.banyan("state ticket-2")).stdout).toMatch(
    /^ticket-2 was gone after event 3 \(TicketAmended, \d{4}-.*Z\)\n$/,
  );
  expect(await state("ticket-2 --version 1")).toMatchObject({
    exists: true,
    state: { title: "VPN drops", comments: [{ body: "Every ten minutes" }] },
  });
});
