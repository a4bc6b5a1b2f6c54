import Fastify from "fastify";
import { addCustomerRoutes } from "./customer-routes.ts";
import type { Doer } from "./order-desk.ts";
import { addOrderRoutes, answerError, done, object, text } from "./order-routes.ts";
import { Shop } from "./shop.ts";

export interface ShopServer {
  readonly url: string;
  close(): Promise<void>;
}

/** The shop over HTTP. Who asks is in the header `x-user`, why in `x-reason`. */
export async function startShopServer(options: {
  readonly databaseUrl: string;
  readonly port?: number;
}): Promise<ShopServer> {
  const shop = new Shop(options.databaseUrl);
  const app = Fastify({ bodyLimit: 64 * 1024 });

  app.setErrorHandler((error, _request, reply) => answerError(error, reply));
  app.get("/healthz", () => ({ ok: true }));
  app.get("/catalogue", () => shop.catalogue());
  addCustomerRoutes(app, shop, doer);
  addOrderRoutes(app, shop, doer);

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

function doer({
  headers,
}: {
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}): Doer {
  const reason = headers["x-reason"];
  const correlationId = headers["banyan-correlation"];
  return {
    actor: String(headers["x-user"] ?? "anonymous"),
    ...(reason !== undefined && { reason: String(reason) }),
    ...(correlationId !== undefined && { correlationId: String(correlationId) }),
  };
}
