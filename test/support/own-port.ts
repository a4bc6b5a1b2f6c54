import { createServer } from "node:net";

/** Below those that Linux gives out by itself, to whoever asks for any port or connects. */
const FIRST = 20_000;
const LAST = 32_767;
const TRIES_MAX = 100;

/**
 * A free port of loopback that stays free while its server is away: nobody is given it by chance, as
 * happens to the port of a server that has stopped among tests that start others all the time.
 */
export async function ownPort(): Promise<number> {
  for (let n = 0; n < TRIES_MAX; n++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST + 1));
    if (await isFree(port)) return port;
  }
  throw new Error(`no port from ${FIRST} to ${LAST} is free`);
}

function isFree(port: number): Promise<boolean> {
  return new Promise((done) => {
    const probe = createServer();
    probe.once("error", () => done(false));
    probe.listen(port, "127.0.0.1", () => probe.close(() => done(true)));
  });
}
