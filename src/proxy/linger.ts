import type { ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

/** A client that gets its answer before it has sent all of its request has so long to end that. */
const LINGER_MS_MAX = 5_000;

/**
 * Lets a client end a request that nobody reads any more. Closed at once, its connection would be reset, and
 * the answer with it; without a limit it could go on for ever.
 */
export function lingerAfter(response: ServerResponse): void {
  response.once("finish", () => {
    const { req } = response;
    if (req.complete) return;
    const timer = setTimeout(() => req.destroy(), LINGER_MS_MAX).unref();
    req.once("close", () => clearTimeout(timer));
  });
}

/** Ends a connection of which nobody reads any more, for a client that may never end it from its side. */
export function endLingering(socket: Duplex): void {
  socket.resume().end();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS_MAX).unref();
  socket.once("close", () => clearTimeout(timer));
}
