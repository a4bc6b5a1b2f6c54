import { BanyanError, openAggregates, requestContext } from "banyan";
import Fastify, { type FastifyInstance } from "fastify";
import { streams } from "./streams.ts";

/**
 * A service on fastify: tickets are opened, assigned and solved.
 *
 * @param options.storeUrl of the event store
 * @param options.sendMail what reaches beyond the store
 */
export async function ticketService({
  storeUrl,
  sendMail,
}: {
  readonly storeUrl: string;
  readonly sendMail: (to: string, text: string) => Promise<void>;
}): Promise<FastifyInstance> {
  const store = await openAggregates({ store: storeUrl, pipeline: "helpdesk", streams });
  const tickets = store.aggregates("ticket");
  const { TicketOpened, TicketAssigned, TicketSolved } = tickets.events;

  const app = Fastify();
  app.addHook("onClose", () => store.close());
  app.get("/healthz", async () => {
    await store.check();
    return { ok: true };
  });
  // Authority is elsewhere, no id is reserved, the store is away: it will pass.
  app.setErrorHandler((error, _request, reply) => {
    const willPass = error instanceof BanyanError && error.recovery === "retry";
    if (!willPass) return reply.send(error);
    return reply.status(503).header("retry-after", "1").send({ error: error.message });
  });

  app.post<{ Body: { subject: string } }>("/tickets", async ({ headers, body }, reply) => {
    const { id } = await tickets.create(requestContext(headers), (ticketId) => [
      TicketOpened({ id: ticketId, subject: body.subject, status: "open" }),
    ]);
    return reply.status(201).send({ id });
  });

  app.get<{ Params: { id: string } }>("/tickets/:id", async ({ params }, reply) => {
    const { state } = await tickets.load(params.id);
    return state ?? reply.status(404).send({ error: "there is no such ticket" });
  });

  app.put<{ Params: { id: string }; Body: { to: string } }>(
    "/tickets/:id/assignee",
    async ({ headers, params, body }) => {
      const context = requestContext(headers, { actor: String(headers["x-user"] ?? "anonymous") });
      const { state } = await tickets.execute(context, params.id, async (ticket) => {
        if (ticket === undefined) throw refusal(404, "there is no such ticket");
        if (ticket.status === "solved") throw refusal(409, "it is solved");
        if (ticket.assignee === body.to) return [];
        // Not in shadow, not twice, and only once the event is stored.
        await context.effects(() => sendMail(body.to, `yours: ${ticket.subject}`));
        return [TicketAssigned({ assignee: body.to })];
      });
      return state;
    },
  );

  app.post<{ Params: { id: string } }>("/tickets/:id/solve", async ({ headers, params }) => {
    const { state } = await tickets.execute(requestContext(headers), params.id, (ticket) => {
      if (ticket === undefined) throw refusal(404, "there is no such ticket");
      return ticket.status === "solved" ? [] : [TicketSolved()];
    });
    return state;
  });
  return app;
}

function refusal(statusCode: number, message: string): Error {
  return Object.assign(new Error(message), { statusCode });
}
