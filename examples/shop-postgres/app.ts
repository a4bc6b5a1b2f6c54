import Fastify from "fastify";
import { Refusal, Shop, type Doer, type NewLine } from "./shop.ts";

export interface ShopServer {
  readonly url: string;
  close(): Promise<void>;
}

interface IdParams {
  readonly Params: { readonly id: string };
}

const ID = {
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

/** The shop over HTTP. Who asks is in the header `x-user`, why in `x-reason`. */
export async function startShopServer(options: {
  readonly databaseUrl: string;
  readonly port?: number;
}): Promise<ShopServer> {
  const shop = new Shop(options.databaseUrl);
  const app = Fastify({ bodyLimit: 64 * 1024 });

  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof Refusal) return reply.status(error.status).send({ error: error.message });
    const { statusCode = 500, message } = error as { statusCode?: number; message: string };
    return reply
      .status(statusCode)
      .send({ error: statusCode < 500 ? message : "the shop cannot do that now" });
  });

  app.get("/catalogue", () => shop.catalogue());
  app.get<IdParams>("/orders/:id", { schema: { params: ID } }, ({ params }) =>
    shop.order(params.id),
  );

  app.post<{ Body: { email: string; fullName: string; city: string } }>(
    "/customers",
    { schema: { body: object({ email: text, fullName: text, city: text }) } },
    async (request) => ({ id: await shop.registerCustomer(request.body, doer(request)) }),
  );
  app.put<IdParams & { Body: { city: string } }>(
    "/customers/:id/city",
    { schema: { params: ID, body: object({ city: text }) } },
    async (request) =>
      done(await shop.moveCustomer(request.params.id, request.body.city, doer(request))),
  );

  app.post<{ Body: { customerId: string; lines: NewLine[] } }>(
    "/orders",
    { schema: { body: object({ customerId: text, lines: LINES }) } },
    async (request) => ({
      id: await shop.placeOrder(request.body.customerId, request.body.lines, doer(request)),
    }),
  );
  app.put<IdParams & { Body: { lines: NewLine[]; note?: string } }>(
    "/orders/:id",
    { schema: { params: ID, body: object({ lines: LINES }) } },
    async (request) =>
      done(
        await shop.amendOrder(
          request.params.id,
          request.body.lines,
          request.body.note,
          doer(request),
        ),
      ),
  );
  app.delete<IdParams>("/orders/:id", { schema: { params: ID } }, async (request) =>
    done(await shop.deleteOrder(request.params.id, doer(request))),
  );
  app.post<IdParams & { Body: { cardWorks: boolean } }>(
    "/orders/:id/pay",
    { schema: { params: ID, body: object({ cardWorks: { type: "boolean" } }) } },
    async (request) =>
      done(await shop.payOrder(request.params.id, request.body.cardWorks, doer(request))),
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
        await shop.shipOrder(
          request.params.id,
          request.body.carrier,
          request.body.parcelsG,
          doer(request),
        ),
      ),
  );
  for (const [verb, act] of [
    ["deliver", (id: string, who: Doer) => shop.deliverOrder(id, who)],
    ["cancel", (id: string, who: Doer) => shop.cancelOrder(id, who)],
    ["refund", (id: string, who: Doer) => shop.refundOrder(id, who)],
    ["save", (id: string, who: Doer) => shop.saveUnchanged(id, who)],
  ] as const) {
    app.post<IdParams>(`/orders/:id/${verb}`, { schema: { params: ID } }, async (request) =>
      done(await act(request.params.id, doer(request))),
    );
  }
  app.post<IdParams & { Body: { into: string } }>(
    "/orders/:id/merge",
    {
      schema: { params: ID, body: object({ into: { type: "string", pattern: "^[0-9]{1,18}$" } }) },
    },
    async (request) =>
      done(await shop.mergeOrders(request.params.id, request.body.into, doer(request))),
  );

  app.post<{ Body: { tag: string; factor: number } }>(
    "/prices",
    {
      schema: {
        body: object({ tag: text, factor: { type: "number", exclusiveMinimum: 0, maximum: 10 } }),
      },
    },
    async (request) => ({
      changed: await shop.changePrices(request.body.tag, request.body.factor, doer(request)),
    }),
  );
  app.post<{ Body: { sku: string; to: string } }>(
    "/products/rename",
    { schema: { body: object({ sku: text, to: text }) } },
    async (request) =>
      done(await shop.renameProduct(request.body.sku, request.body.to, doer(request))),
  );
  app.post<{ Body: { sku: string; quantity: number } }>(
    "/stock/recount",
    { schema: { body: object({ sku: text, quantity: { type: "integer", minimum: 0 } }) } },
    async (request) =>
      done(await shop.recountStock(request.body.sku, request.body.quantity, doer(request))),
  );

  const url = await app.listen({ host: "127.0.0.1", port: options.port ?? 0 });
  return {
    url,
    async close() {
      await app.close();
      await shop.close();
    },
  };
}

const text = { type: "string", minLength: 1, maxLength: 200 } as const;

function object(properties: Readonly<Record<string, unknown>>): object {
  return { type: "object", required: Object.keys(properties), properties };
}

function doer({
  headers,
}: {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}): Doer {
  const reason = headers["x-reason"];
  return {
    actor: String(headers["x-user"] ?? "anonymous"),
    ...(reason !== undefined && { reason: String(reason) }),
  };
}

function done(_: void): { readonly ok: true } {
  return { ok: true };
}
