import { createHash, timingSafeEqual } from "node:crypto";
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from "fastify";
import { describeAddress, isLoopback, type Address } from "./listen-address.ts";
import type { ProxyMetrics } from "./metrics.ts";
import type { MoveParts } from "./move-metrics.ts";
import type { AdminSettings } from "./settings.ts";
import type { Shadow } from "./shadow.ts";
import type { Upstream } from "./upstream.ts";
import { BanyanError } from "../model/errors.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";

export interface AdminPlane {
  readonly address: Address;
  close(): Promise<void>;
}

export interface AdminParts extends MoveParts {
  /** As banyan.proxies has it. */
  readonly instance: string;
  readonly metrics: ProxyMetrics;
  readonly watch: RolloutWatch;
  readonly upstreams: readonly Upstream[];
  readonly shadow: Shadow | undefined;
  readonly isDraining: () => boolean;
  /** Begins the drain, as the first signal does. */
  readonly drain: () => void;
  /** Told of every change that was asked for. */
  readonly audit: (what: string, peer: string) => void;
}

/** Requests to it are small. */
const BODY_BYTES_MAX = 4_096;
const REQUEST_MS_MAX = 5_000;

/**
 * The admin plane, on a listener of its own: health, rollout, metrics, drain. Whoever reaches it and has the
 * token may do all of it. A page in a browser may not, whoever looks at it: requests from an origin, and
 * ones that took a foreign name for this machine, are refused.
 *
 * @throws BanyanError `CONFIG_INVALID` on an address that others reach without a token, `PROXY_NOT_LISTENING`
 */
export async function startAdmin(settings: AdminSettings, parts: AdminParts): Promise<AdminPlane> {
  const { listen, token } = settings;
  if (token === undefined && !isLoopback(listen.host)) {
    throw new BanyanError(
      "CONFIG_INVALID",
      `proxy.admin.listen ${describeAddress(listen)} can be reached from elsewhere, and there is no proxy.admin.token`,
      { hint: 'Listen on 127.0.0.1, or set token: env("BANYAN_ADMIN_TOKEN")' },
    );
  }
  const app = Fastify({
    logger: false,
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_MS_MAX,
    forceCloseConnections: true,
  });
  app.addHook("onRequest", async (request, reply) => {
    const refused = refusalOf(request, listen, token);
    if (refused !== undefined) await reply.code(refused.status).send({ error: refused.error });
  });
  addRoutes(app, parts);
  try {
    await app.listen({ host: listen.host, port: listen.port });
  } catch (cause) {
    throw new BanyanError(
      "PROXY_NOT_LISTENING",
      `the admin plane cannot listen on ${describeAddress(listen)}: ${(cause as Error).message}`,
      { cause, hint: "Change proxy.admin.listen, or stop what listens there" },
    );
  }
  const address = app.server.address();
  const port = typeof address === "object" && address !== null ? address.port : listen.port;
  return { address: { host: listen.host, port }, close: () => app.close() };
}

function refusalOf(
  { headers }: FastifyRequest,
  { host }: Address,
  token: string | undefined,
): { status: number; error: string } | undefined {
  // Browsers name the origin of whatever could do harm, and no other client does.
  if (headers.origin !== undefined || headers["sec-fetch-site"] !== undefined) {
    return { status: 403, error: "requests of a page in a browser are refused" };
  }
  const [, name = ""] = /^\[?([^\]]*?)\]?(?::\d+)?$/.exec(headers.host ?? "") ?? [];
  if (isLoopback(host) && !isLoopback(name)) {
    return { status: 403, error: "the Host header does not name this machine" };
  }
  if (token === undefined) return undefined;
  const given = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
  return given !== undefined && isSame(given, token)
    ? undefined
    : { status: 401, error: "the bearer token is missing or wrong" };
}

/** Takes the same time wherever they differ. */
function isSame(a: string, b: string): boolean {
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(digest(a), digest(b));
}

function addRoutes(app: FastifyInstance, parts: AdminParts): void {
  const { watch, upstreams, metrics, presence, heldRequests, underWay, creations, shadow } = parts;
  app.get("/health", async (_request, reply: FastifyReply) => {
    const state = parts.isDraining()
      ? "draining"
      : Number.isFinite(watch.ageMs)
        ? "ready"
        : "starting";
    return await reply.code(state === "ready" ? 200 : 503).send({ state });
  });
  app.get("/state", () => ({
    draining: parts.isDraining(),
    requests: metrics.requests,
    rolloutAgeMs: Number.isFinite(watch.ageMs) ? Math.round(watch.ageMs) : null,
    instance: parts.instance,
    rollouts: Object.fromEntries(watch.known),
    acknowledged: Object.fromEntries(presence.acknowledged),
    writesUnderWay: underWay.count,
    held: { now: heldRequests.count, total: heldRequests.total },
    creations: { waiting: creations.waiting, ...creations.counts },
    upstreams: upstreams.map(({ side, inFlight, health, isOpen }) => ({
      side,
      inFlight,
      healthy: health.isWell,
      breakerOpen: isOpen,
    })),
    shadow: shadow?.state ?? null,
  }));
  app.get("/metrics", async (_request, reply: FastifyReply) => {
    return await reply.type("text/plain; version=0.0.4").send(await metrics.text());
  });
  app.post("/drain", async (request, reply: FastifyReply) => {
    parts.audit("drain", request.ip);
    parts.drain();
    return await reply.code(202).send({ state: "draining" });
  });
}
