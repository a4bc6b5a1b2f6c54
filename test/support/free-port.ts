import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Below those that a system gives to whoever asks for any: from 32,768 on Linux, from 49,152 elsewhere. */
const FIRST = 12_000;
const BEYOND = 32_000;
const TRIES_MAX = 100;

/**
 * A port of this machine on which nobody listens. It stays so for as long as a test takes, and can be bound
 * again and again: nobody else is given one like it, neither to listen nor as the near end of a connection.
 */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const port = randomInt(FIRST, BEYOND);
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${FIRST} to ${BEYOND} is free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer();
    server.once("error", () => done(false));
    server.listen(port, "127.0.0.1", () => server.close(() => done(true)));
  });
}
