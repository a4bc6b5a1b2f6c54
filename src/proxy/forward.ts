import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { AnswerTap } from "./answer-tap.ts";
import { Exchange } from "./exchange.ts";
import type { Look } from "./creations.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestRecord } from "./request-record.ts";
import type { Upstream } from "./upstream.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import type { UpstreamPool } from "./upstream-pool.ts";
import type { End } from "../rollout/under-way.ts";

export interface Outgoing {
  readonly target: string;
  readonly headers: readonly string[];
  /** As it comes, or read already. */
  readonly body: RequestBody | Buffer | undefined;
  /** The protocol that the client wants to change to. */
  readonly upgrade?: string | undefined;
  /** Right before it is sent. */
  readonly onSend?: (() => void) | undefined;
  readonly onTunnel?: ((headers: readonly string[], socket: Duplex) => void) | undefined;
  /** Looks on at the answer. */
  readonly tap?: AnswerTap | undefined;
}

/** Methods that may be sent again, because they change nothing. */
const SAFE = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Sends a request to an upstream and its answer back.
 *
 * A request is sent once. Only one that is safe, has no body and met a connection that was closed is sent a
 * second time; anything else may have been done already. A write that was sent goes on to its end also when
 * the client has gone, because it may be done anyway.
 *
 * @param done is told once: nothing when the answer has begun, an UpstreamFailure when there is none, a
 *   ClientFault when nobody waits for one
 */
export function forward(
  upstream: Upstream,
  parts: ForwardParts,
  done: (failure: Error | undefined) => void,
): void {
  const { outgoing, request, response, onWriteEnd } = parts;
  let isBegun = false;
  const told = (failure: Error | undefined): void => {
    if (!isBegun) onWriteEnd?.(true);
    done(failure);
  };
  upstream.ask((pool, free, settled) => {
    isBegun = true;
    outgoing.onSend?.();
    const sendOn = (isAgain: boolean, then: (failure: Error | undefined) => void): void =>
      send({ pool, isAgain, free }, parts, then);
    sendOn(false, (failure) => {
      const isOver = failure === undefined || response.destroyed;
      const isWrite = onWriteEnd !== undefined;
      if (isOver || isWrite || !mayRepeat(request.method!, outgoing, failure)) settled(failure);
      else sendOn(true, settled);
    });
  }, told);
}

export interface ForwardParts {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly outgoing: Outgoing;
  readonly record: RequestRecord;
  /** Of a write or a creation: told once when it has ended at the upstream, and whether that is sure. */
  readonly onWriteEnd?: End | undefined;
  /** By its status, whether the answer must be looked at before it goes on. */
  readonly lookAt?: ((status: number) => Look | undefined) | undefined;
}

function mayRepeat(method: string, { body, upgrade }: Outgoing, failure: Error): boolean {
  if (!SAFE.has(method) || body !== undefined || upgrade !== undefined) return false;
  return failure instanceof UpstreamFailure && failure.wasClosed;
}

interface Sending {
  readonly pool: UpstreamPool;
  /** On a connection of its own, because a kept one was closed. */
  readonly isAgain: boolean;
  readonly free: () => void;
}

function send(
  { pool, isAgain, free }: Sending,
  { request, response, outgoing, record, onWriteEnd, lookAt }: ForwardParts,
  settled: (failure: Error | undefined) => void,
): void {
  const { target, headers, body, upgrade, onTunnel, tap } = outgoing;
  let isSettled = false;
  const exchange = new Exchange({
    response,
    body: Buffer.isBuffer(body) ? undefined : body,
    record,
    onHead: (failure) => {
      if (isSettled) return;
      isSettled = true;
      if (failure !== undefined) {
        response.off("close", onClose);
        onWriteEnd?.(!exchange.wasSent);
      }
      settled(failure);
    },
    onEnd: (isWhole) => {
      free();
      onWriteEnd?.(isWhole);
    },
    isWrite: onWriteEnd !== undefined,
    lookAt,
    tap,
    onTunnel,
  });
  const onClose = (): void => {
    if (!response.writableFinished) exchange.abandon();
  };
  response.on("close", onClose);
  if (response.destroyed) return exchange.abandon();
  const method = request.method!;
  pool.send({ method, target, headers, body, upgrade }, exchange, isAgain);
}
