import type { FastifyInstance, FastifyReply } from "fastify";
import { Refusal, type NewLine, type OrderDesk } from "./order-desk.ts";

export interface IdParams {
  readonly Params: { readonly id: string };
}

export const ID = {
  type: "object",
  properties: { id: { type: "string", pattern: "^[0-9]{1,18}$" } },
} as const;
const LINES = {
  type: "array",
  minItems: 1,
  maxItems: 50,
  items: {
    type: "object",
    required: ["sku", "quantity"],
    properties: {
      sku: { type: "string", minLength: 1 },
      quantity: { type: "integer", minimum: 1, maximum: 1000 },
    },
  },
} as const;

/** What {@link addOrderRoutes} needs to find out who asks. */
export interface Asked {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Orders over HTTP: the same requests and answers, whichever application keeps them. */
export function addOrderRoutes<Who>(
  app: FastifyInstance,
  desk: OrderDesk<Who>,
  who: (request: Asked) => Who,
): void {
  app.get<IdParams>("/orders/:id", { schema: { params: ID } }, ({ params }) =>
    desk.order(params.id),
  );

  app.post<{ Body: { customerId: string; lines: NewLine[] } }>(
    "/orders",
    { schema: { body: object({ customerId: text, lines: LINES }) } },
    async (request) => ({
      id: await desk.placeOrder(request.body.customerId, request.body.lines, who(request)),
    }),
  );
  app.put<IdParams & { Body: { lines: NewLine[]; note?: string } }>(
    "/orders/:id",
    { schema: { params: ID, body: object({ lines: LINES }) } },
    async (request) =>
      done(
        await desk.amendOrder(
          request.params.id,
          request.body.lines,
          request.body.note,
          who(request),
        ),
      ),
  );
  app.delete<IdParams>("/orders/:id", { schema: { params: ID } }, async (request) =>
    done(await desk.deleteOrder(request.params.id, who(request))),
  );
  app.post<IdParams & { Body: { cardWorks: boolean } }>(
    "/orders/:id/pay",
    { schema: { params: ID, body: object({ cardWorks: { type: "boolean" } }) } },
    async (request) =>
      done(await desk.payOrder(request.params.id, request.body.cardWorks, who(request))),
  );
  app.post<IdParams & { Body: { carrier: string; parcelsG: number[] } }>(
    "/orders/:id/ship",
    {
      schema: {
        params: ID,
        body: object({ carrier: text, parcelsG: { type: "array", items: { type: "integer" } } }),
      },
    },
    async (request) =>
      done(
        await desk.shipOrder(
          request.params.id,
          request.body.carrier,
          request.body.parcelsG,
          who(request),
        ),
      ),
  );
  for (const [verb, act] of [
    ["deliver", (id: string, by: Who) => desk.deliverOrder(id, by)],
    ["cancel", (id: string, by: Who) => desk.cancelOrder(id, by)],
    ["refund", (id: string, by: Who) => desk.refundOrder(id, by)],
    ["save", (id: string, by: Who) => desk.saveUnchanged(id, by)],
  ] as const) {
    app.post<IdParams>(`/orders/:id/${verb}`, { schema: { params: ID } }, async (request) =>
      done(await act(request.params.id, who(request))),
    );
  }
  app.post<IdParams & { Body: { into: string } }>(
    "/orders/:id/merge",
    {
      schema: { params: ID, body: object({ into: { type: "string", pattern: "^[0-9]{1,18}$" } }) },
    },
    async (request) =>
      done(await desk.mergeOrders(request.params.id, request.body.into, who(request))),
  );
}

/** `{ error }` with the status of a refusal, of a bad request, or 500. */
export function answerError(error: unknown, reply: FastifyReply): FastifyReply {
  if (error instanceof Refusal) return reply.status(error.status).send({ error: error.message });
  const { statusCode = 500, message } = error as { statusCode?: number; message: string };
  return reply
    .status(statusCode)
    .send({ error: statusCode < 500 ? message : "the shop cannot do that now" });
}

export const text = { type: "string", minLength: 1, maxLength: 200 } as const;

export function object(properties: Readonly<Record<string, unknown>>): object {
  return { type: "object", required: Object.keys(properties), properties };
}

export function done(_: void): { readonly ok: true } {
  return { ok: true };
}
