import { BanyanError, openAggregates, requestContext, type RequestContext } from "banyan";
import Fastify from "fastify";
import config from "./banyan.config.ts";
import { addCustomerRoutes } from "./customer-routes.ts";
import { NewCustomers } from "./new-customers.ts";
import { NewOrders, type Bugs } from "./new-orders.ts";
import { addOrderRoutes, answerError, type Asked } from "./order-routes.ts";

export interface NewShopServer {
  readonly url: string;
  close(): Promise<void>;
}

export interface NewShopOptions {
  /** URL of the event store. */
  readonly storeUrl: string;
  readonly port?: number;
  readonly bugs?: Partial<Bugs>;
}

/** The new service: orders over HTTP as the legacy shop has them, kept as events. */
export async function startNewShop({
  storeUrl,
  port = 0,
  bugs,
}: NewShopOptions): Promise<NewShopServer> {
  const store = await openAggregates({
    store: storeUrl,
    pipeline: config.name,
    streams: config.streams,
  });
  const app = Fastify({ bodyLimit: 64 * 1024 });
  app.setErrorHandler((error, _request, reply) => {
    if (!(error instanceof BanyanError)) return answerError(error, reply);
    if (error.code === "SERVICE_REQUEST_INVALID")
      return reply.status(400).send({ error: error.message });
    // Authority has gone elsewhere, no id is reserved, the store is away: it will pass.
    if (error.recovery !== "retry") return answerError(error, reply);
    return reply
      .status(503)
      .header("retry-after", "1")
      .send({ error: "the shop cannot do that now" });
  });
  app.get("/healthz", async () => {
    await store.check();
    return { ok: true };
  });
  addCustomerRoutes(app, new NewCustomers(store), asked);
  addOrderRoutes(app, new NewOrders(store, { rounding: false, statusRule: false, ...bugs }), asked);
  try {
    const url = await app.listen({ host: "127.0.0.1", port });
    return {
      url,
      async close() {
        await app.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}

/** Bugs by name, as NEW_SHOP_BUGS has them: `rounding,statusRule`. */
export function bugsOf(words: string): Partial<Bugs> {
  const named = words.split(",").filter((word) => word !== "");
  const unknown = named.find((word) => word !== "rounding" && word !== "statusRule");
  if (unknown !== undefined) throw new Error(`there is no bug ${unknown}: rounding, statusRule`);
  return Object.fromEntries(named.map((word) => [word, true]));
}

function asked({ headers }: Asked): RequestContext {
  const reason = headers["x-reason"];
  return requestContext(headers, {
    actor: String(headers["x-user"] ?? "anonymous"),
    ...(reason !== undefined && { reason: String(reason) }),
  });
}
