import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { randomUUID } from "node:crypto";
import type { AccessLog } from "./access-log.ts";
import { admit, type Admitted } from "./admission.ts";
import type { RequestParts } from "./aggregate-id.ts";
import { endConnectionAfter, takeTurn } from "./connection-turns.ts";
import { countTraffic } from "./count-traffic.ts";
import type { Creations } from "./creations.ts";
import { decide, needsBody, type Decision } from "./decide.ts";
import { forward, type ForwardParts, type Outgoing } from "./forward.ts";
import { peerOf, type ForwardedHeaders } from "./forwarded-headers.ts";
import type { HeldBodies, HeldBody } from "./held-bodies.ts";
import type { HeldRequests } from "./held-requests.ts";
import { lingerAfter } from "./linger.ts";
import type { ProxyMetrics } from "./metrics.ts";
import { UNCLEAR } from "./named-id.ts";
import { requestHeaders } from "./pass-headers.ts";
import { bodyOf, REFUSALS, RETRY_AFTER_SECONDS, type Refusal } from "./refusal.ts";
import { RequestBody } from "./request-body.ts";
import type { RequestRecord } from "./request-record.ts";
import type { RouteMatch, RouteTable } from "./route-table.ts";
import type { Shadow } from "./shadow.ts";
import type { Upstream } from "./upstream.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import type { Side } from "../rollout/stage.ts";
import type { TrafficCounts } from "../rollout/traffic.ts";
import type { End, UnderWay } from "../rollout/under-way.ts";

export interface Handling {
  readonly routes: RouteTable;
  readonly watch: RolloutWatch;
  readonly upstreams: Readonly<Record<Side, Upstream>>;
  readonly forwarded: ForwardedHeaders;
  readonly instance: string;
  readonly held: HeldBodies;
  readonly heldRequests: HeldRequests;
  readonly underWay: UnderWay;
  readonly creations: Creations;
  readonly traffic: TrafficCounts;
  /** 0 to below 1. */
  readonly random: () => number;
  readonly log: AccessLog;
  readonly metrics: ProxyMetrics;
  readonly shadow: Shadow | undefined;
  /** No further request is taken on a connection once this is true. */
  readonly isDraining: () => boolean;
  /** Told of what should never be thrown. */
  readonly onBug: (error: unknown) => void;
}

export interface Wish {
  /** The client waits for leave to send its body. */
  readonly expectsContinue?: boolean;
  readonly upgrade?: string;
  readonly onTunnel?: (headers: readonly string[], socket: Duplex) => void;
}

/** A request on its way through. */
interface Passage {
  readonly handling: Handling;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly wish: Wish;
  readonly record: RequestRecord;
}

type Matches = readonly (RouteMatch | undefined)[];

/** A request from its head to its end: admit, route, decide, forward, tell. Never throws. */
export function handle(
  handling: Handling,
  request: IncomingMessage,
  response: ServerResponse,
  wish: Wish = {},
): void {
  const turn = takeTurn(response);
  const begin = (): void => start({ handling, request, response, wish, record: recordOf(request) });
  if (turn === true) begin();
  else void turn.then((isOurs) => isOurs && begin());
}

function start(passage: Passage): void {
  const { handling, response, record } = passage;
  response.once("close", () => {
    if (record.end === "done" && !response.writableFinished) record.end = "client-went-away";
    handling.metrics.observe(record);
    countTraffic(handling.traffic, record);
    handling.log.write(record);
  });
  if (handling.isDraining()) endConnectionAfter(response);
  guarded(passage, () => admitAndRoute(passage));
}

function admitAndRoute(passage: Passage): void {
  const { handling, request, record } = passage;
  const admitted = admit(request);
  if (typeof admitted === "string") return refuse(passage, admitted);
  record.path = admitted.path;
  const matches = handling.routes.match(request.method!, admitted.path);
  if (matches.length === 0) return refuse(passage, "ambiguous-path");
  route(passage, admitted, matches);
}

/** Also again, after it had to wait. @param body as far as it was read already */
function route(passage: Passage, admitted: Admitted, matches: Matches, body?: HeldBody): void {
  const { handling, wish } = passage;
  const hasBody = admitted.hasBody && wish.upgrade === undefined && body === undefined;
  if (hasBody && needsBody(matches, handling.watch)) void lookIntoBody(passage, admitted, matches);
  else send(passage, admitted, matches, body);
}

/** Nothing more of it is read meanwhile. @param again decides it anew */
function holdBack(passage: Passage, type: string, again: () => void): void {
  const { handling, response, record } = passage;
  const sinceMs = performance.now() - (record.heldMs ?? 0);
  handling.heldRequests.wait(response, type, record.heldMs, (how) => {
    record.heldMs = performance.now() - sinceMs;
    if (how === "gone") return;
    guarded(passage, () => (how === "decide" ? again() : refuse(passage, how)));
  });
}

async function lookIntoBody(passage: Passage, admitted: Admitted, matches: Matches): Promise<void> {
  const { handling, response, wish } = passage;
  if (wish.expectsContinue === true) response.writeContinue();
  const body = await handling.held.read(response);
  if (body === "gone") return;
  guarded(passage, () =>
    typeof body === "string" ? refuse(passage, body) : send(passage, admitted, matches, body),
  );
}

/** @param body as far as it was read already */
function send(passage: Passage, admitted: Admitted, matches: Matches, body?: HeldBody): void {
  const { handling, request, response, wish, record } = passage;
  const { watch, upstreams } = handling;
  const whole = body?.isWhole === true ? body.read : undefined;
  const parts: RequestParts = {
    query: admitted.query,
    headers: request.headers,
    body: whole ?? (admitted.hasBody ? UNCLEAR : undefined),
  };
  const decision = decide(matches, parts, watch, handling.random);
  if (typeof decision === "string") return refuse(passage, decision);
  if ("heldBy" in decision)
    return holdBack(passage, decision.heldBy, () => route(passage, admitted, matches, body));
  record.decision = decision;
  const routed = routedBy(decision);
  record.correlation = routed?.correlation;
  // Not spread from all there is: each would have a shape of its own, which is garbage that grows old.
  const headers = requestHeaders(request, admitted, {
    instance: handling.instance,
    forwarded: handling.forwarded,
    peer: record.peer,
    routed,
  });
  if (headers === "loop") return refuse(passage, "loop");
  const plain: Outgoing = {
    target: admitted.target,
    headers,
    body: whole ?? (admitted.hasBody ? streamed(passage, body?.read) : undefined),
    upgrade: wish.upgrade,
    onSend:
      wish.expectsContinue === true && body === undefined
        ? () => response.writeContinue()
        : undefined,
    onTunnel: wish.onTunnel,
  };
  const { shadow } = handling;
  const method = request.method!;
  const outgoing = shadow?.accompany({ method, decision, parts, outgoing: plain }) ?? plain;
  if (whole !== undefined) record.bytesIn = whole.length;
  const forwarded = {
    request,
    response,
    outgoing,
    record,
    onWriteEnd: wish.upgrade === undefined ? beginWrite(handling, decision) : undefined,
    lookAt: handling.creations.lookAt(decision),
  };
  record.sentMs = performance.now();
  sendOn(upstreams[decision.side], forwarded, (failure) => {
    if (failure === undefined) return;
    outgoing.tap?.broke();
    if (outgoing.body instanceof RequestBody) outgoing.body.destroy();
    if (failure instanceof UpstreamFailure) refuse(passage, failure.refusal);
    // Nobody is there to be answered, or what was sent cannot be sent on.
    else refuse(passage, "framing");
  });
}

/** A write that a mistake of ours stops is not under way for ever. */
function sendOn(
  upstream: Upstream,
  parts: ForwardParts,
  done: Parameters<typeof forward>[2],
): void {
  try {
    forward(upstream, parts, done);
  } catch (error) {
    parts.onWriteEnd?.(false);
    throw error;
  }
}

function routedBy({ epoch }: Decision): { epoch: number; correlation: string } | undefined {
  return epoch === undefined ? undefined : { epoch, correlation: randomUUID() };
}

/** A write or a creation counts as under way from here. */
function beginWrite({ underWay }: Handling, { route, epoch }: Decision): End | undefined {
  if (route === undefined || route.route.kind === "read") return undefined;
  return underWay.begin(route.route.stream, epoch!);
}

function streamed({ request, response, record }: Passage, first: Buffer | undefined): RequestBody {
  return new RequestBody(request, record, first, () => {
    record.end = "slow-request";
    response.destroy();
  });
}

/** A mistake of ours costs one request, not the process. */
function guarded({ handling, response }: Passage, step: () => void): void {
  try {
    step();
  } catch (error) {
    handling.onBug(error);
    response.destroy();
  }
}

/** An answer of the proxy's own. */
function refuse({ response, record, wish }: Passage, refusal: Refusal): void {
  if (response.destroyed || response.headersSent) return void response.destroy();
  record.end = refusal;
  record.status = REFUSALS[refusal];
  const body = bodyOf(refusal);
  const isWhole = response.req.complete;
  // Whether the body comes after all, or where the next request begins, nobody knows.
  if (refusal === "framing" || (wish.expectsContinue === true && !isWhole)) {
    endConnectionAfter(response);
  }
  if (!isWhole) {
    response.req.resume();
    lingerAfter(response);
  }
  const headers: Record<string, string | number> = {
    "banyan-refused": refusal,
    "content-type": "text/plain",
    "content-length": body.length,
    "cache-control": "no-store",
  };
  if (record.status === 503) headers["retry-after"] = RETRY_AFTER_SECONDS;
  response.writeHead(record.status, headers).end(body);
}

function recordOf(request: IncomingMessage): RequestRecord {
  const traceparent = request.headers["traceparent"];
  return {
    startedMs: performance.now(),
    method: request.method ?? "",
    peer: peerOf(request),
    path: "",
    trace: typeof traceparent === "string" ? traceparent.slice(0, 64) : undefined,
    decision: undefined,
    correlation: undefined,
    sentMs: undefined,
    heldMs: undefined,
    status: 0,
    bytesIn: 0,
    bytesOut: 0,
    headMs: undefined,
    end: "done",
  };
}
