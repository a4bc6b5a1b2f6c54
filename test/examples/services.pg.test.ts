import type { AddressInfo } from "node:net";
import { expect, test } from "vitest";
import { ticketService } from "../../examples/services/fastify.ts";
import { plainTicketService } from "../../examples/services/plain-http.ts";
import { streams } from "../../examples/services/streams.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { shape } from "../support/mapping-fixtures.ts";

/** A store that has captured tickets, and in which all of them have moved. */
async function openTickets() {
  const opened = await openTestStore("tickets");
  const { store, database } = opened;
  const writer = await store.openCapture("helpdesk", "test://helpdesk");
  const tickets = shape("public.tickets", "*id:int8 subject status assignee");
  await writer.mappingVersion("first", compileMapping(streams, [tickets]).definition());
  await writer.close();
  await database.query(
    `INSERT INTO banyan.rollouts (pipeline, stream_type, stage, salt) VALUES ('helpdesk', 'ticket', 'new', 's')`,
  );
  await database.query(
    `INSERT INTO banyan.reserved_ids SELECT 'helpdesk', 'ticket', 70 + n, 0 FROM generate_series(1, 3) n`,
  );
  return opened;
}

test("the service on fastify opens, assigns and solves tickets, and tells nobody in shadow", async () => {
  await using opened = await openTickets();
  const mails: string[] = [];
  const app = await ticketService({
    storeUrl: opened.database.url,
    sendMail: async (to, text) => void mails.push(`${to}: ${text}`),
  });
  try {
    const key = { "idempotency-key": "k-1" };
    const opening = {
      method: "POST",
      url: "/tickets",
      headers: key,
      payload: { subject: "no light" },
    } as const;
    const made = await app.inject(opening);
    expect([made.statusCode, made.json()]).toEqual([201, { id: "71" }]);
    expect((await app.inject(opening)).json()).toEqual({ id: "71" });
    const assign = async (to: string, headers = {}) =>
      await app.inject({ method: "PUT", url: "/tickets/71/assignee", headers, payload: { to } });
    expect((await assign("Bo", { "banyan-mode": "shadow" })).json()).toMatchObject({
      assignee: "Bo",
    });
    expect(mails).toEqual([]);
    expect((await assign("Ada")).json()).toEqual({
      id: "71",
      subject: "no light",
      status: "open",
      assignee: "Ada",
    });
    expect(mails).toEqual(["Ada: yours: no light"]);
    await assign("Ada");
    expect((await app.inject({ method: "POST", url: "/tickets/71/solve" })).json()).toMatchObject({
      status: "solved",
    });
    expect((await assign("Bo")).statusCode).toBe(409);
    expect((await app.inject("/tickets/72")).statusCode).toBe(404);
    expect(mails).toHaveLength(1);
    await opened.database.query("UPDATE banyan.rollouts SET stage = 'legacy', epoch = epoch + 1");
    const refused = await app.inject({
      method: "POST",
      url: "/tickets",
      payload: { subject: "x" },
    });
    expect([refused.statusCode, refused.headers["retry-after"]]).toEqual([503, "1"]);
  } finally {
    await app.close();
  }
});

test("the service on node:http solves tickets", async () => {
  await using opened = await openTickets();
  const app = await ticketService({
    storeUrl: opened.database.url,
    sendMail: async () => undefined,
  });
  await app.inject({ method: "POST", url: "/tickets", payload: { subject: "no light" } });
  await app.close();
  const server = await plainTicketService(opened.database.url);
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address() as AddressInfo;
  const ask = async (method: string, path: string): Promise<unknown> => {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, { method });
    return [response.status, await response.json()];
  };
  try {
    const ticket = { id: "71", subject: "no light", status: "open", assignee: null };
    expect(await ask("GET", "/tickets/71")).toEqual([200, ticket]);
    expect(await ask("POST", "/tickets/71/solve")).toEqual([200, { ...ticket, status: "solved" }]);
    expect(await ask("POST", "/tickets/71/solve")).toEqual([200, { ...ticket, status: "solved" }]);
    expect(await ask("GET", "/tickets/9")).toEqual([404, { error: "not found" }]);
    expect(await ask("POST", "/tickets/9/solve")).toEqual([404, { error: "not found" }]);
    await opened.database.query("UPDATE banyan.rollouts SET stage = 'legacy', epoch = epoch + 1");
    expect(await ask("POST", "/tickets/71/solve")).toMatchObject([200, { status: "solved" }]);
    expect(await ask("GET", "/nothing")).toMatchObject([404, {}]);
  } finally {
    const closed = new Promise((done) => server.close(done));
    server.closeAllConnections();
    await closed;
  }
});
