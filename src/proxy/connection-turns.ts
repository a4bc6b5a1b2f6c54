import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** Requests that a client sends ahead of their turn; no client that waits for answers has as many. */
const AHEAD_MAX = 100;

/** The response that is under way on each connection. */
const underWay = new WeakMap<Duplex, ServerResponse>();
/** Connections on which no further request counts. */
const ended = new WeakSet<Duplex>();
/** Requests of each connection that wait for their turn. */
const waiting = new WeakMap<Duplex, number>();

/**
 * Waits for the turn of a request that a client sent ahead: one on a connection is handled after the other,
 * because the second may rest on what the first has done. A connection on which too many wait is closed: how
 * many more the parser brings cannot be held up.
 *
 * @returns false when it has no turn, because the connection ended with one before
 */
export function takeTurn(response: ServerResponse): true | Promise<boolean> {
  const { socket } = response.req;
  const before = underWay.get(socket);
  underWay.set(socket, response);
  if (before === undefined || before.closed) return !ended.has(socket) || Promise.resolve(false);
  const ahead = (waiting.get(socket) ?? 0) + 1;
  if (ahead > AHEAD_MAX) {
    ended.add(socket);
    socket.destroy();
    return Promise.resolve(false);
  }
  waiting.set(socket, ahead);
  return new Promise((done) => {
    before.once("close", () => {
      waiting.set(socket, waiting.get(socket)! - 1);
      done(!ended.has(socket) && !socket.destroyed);
    });
  });
}

/** Makes a response the last one of its connection: what the client sent behind it is not looked at. */
export function endConnectionAfter(response: ServerResponse): void {
  response.shouldKeepAlive = false;
  ended.add(response.req.socket);
}

/** The response that a connection is busy with. Undefined when it is with none. */
export function responseUnderWay(socket: Duplex): ServerResponse | undefined {
  const response = underWay.get(socket);
  return response?.closed === false ? response : undefined;
}
