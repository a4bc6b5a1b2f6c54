import { connect, type Socket } from "node:net";

export interface PacedResult {
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of each request, shortest first. */
  readonly tookMs: readonly number[];
}

const CONNECTIONS = 64;
const TICK_MS = 1;
const SETTLE_MS = 20_000;

interface Connection {
  readonly socket: Socket;
  /** When what it is asked was due. Undefined while it is asked nothing. */
  dueMs: number | undefined;
  got: string;
}

/**
 * Asks at a steady rate, whether or not the answers come: a request that finds no free connection waits, and
 * its time runs from when it was due. Fails unless every answer has this body.
 */
export async function pacedLoad(
  port: number,
  perSecond: number,
  seconds: number,
  body: string,
): Promise<PacedResult> {
  const tookMs: number[] = [];
  const due: number[] = [];
  await using clients = await openClients(port, body, (dueMs) => {
    tookMs.push(performance.now() - dueMs);
    return due.shift();
  });
  const startedMs = performance.now();
  const total = Math.floor(perSecond * seconds);
  for (let sent = 0; sent < total;) {
    await new Promise((done) => setTimeout(done, TICK_MS));
    const until = Math.min(
      total,
      Math.floor(((performance.now() - startedMs) * perSecond) / 1_000),
    );
    for (; sent < until; sent++) {
      const dueMs = startedMs + (sent * 1_000) / perSecond;
      if (!clients.ask(dueMs)) due.push(dueMs);
    }
  }
  const deadlineMs = performance.now() + SETTLE_MS;
  while (tookMs.length < total && performance.now() < deadlineMs)
    await new Promise((done) => setTimeout(done, 10));
  clients.check();
  if (tookMs.length < total) throw new Error(`${total - tookMs.length} answers did not come`);
  tookMs.sort((a, b) => a - b);
  const at = (share: number): number => tookMs[Math.floor(tookMs.length * share)]!;
  return { requests: total, p50Ms: at(0.5), p99Ms: at(0.99), tookMs };
}

/** The most requests a second that these same clients get answered, each with one after the other. */
export async function saturatedPerSecond(
  port: number,
  seconds: number,
  body: string,
): Promise<number> {
  const startedMs = performance.now();
  let answers = 0;
  let isOver = false;
  await using clients = await openClients(port, body, () => {
    answers++;
    return isOver ? undefined : 0;
  });
  while (clients.ask(0));
  await new Promise((done) => setTimeout(done, seconds * 1_000));
  isOver = true;
  const perSecond = (answers * 1_000) / (performance.now() - startedMs);
  clients.check();
  return perSecond;
}

interface Clients extends AsyncDisposable {
  /** @returns false when all are busy */
  ask(dueMs: number): boolean;
  /** @throws when an answer was wrong */
  check(): void;
}

/** @param answered gives when the next request of the same client was due, if there is one */
async function openClients(
  port: number,
  body: string,
  answered: (dueMs: number) => number | undefined,
): Promise<Clients> {
  const free: Connection[] = [];
  let wrong = 0;
  const ask = (connection: Connection, dueMs: number): void => {
    connection.dueMs = dueMs;
    connection.socket.write(REQUEST);
  };
  const take = (connection: Connection, text: string): void => {
    connection.got += text;
    const end = connection.got.indexOf("\r\n\r\n");
    if (end === -1 || connection.got.length < end + 4 + body.length) return;
    if (!connection.got.startsWith("HTTP/1.1 200") || !connection.got.endsWith(body)) wrong++;
    connection.got = "";
    const next = answered(connection.dueMs!);
    connection.dueMs = undefined;
    if (next === undefined) free.push(connection);
    else ask(connection, next);
  };
  const sockets = await Promise.all(Array.from({ length: CONNECTIONS }, () => open(port)));
  for (const socket of sockets) {
    const connection: Connection = { socket, dueMs: undefined, got: "" };
    socket.setEncoding("latin1").on("data", (text: string) => take(connection, text));
    free.push(connection);
  }
  return {
    ask(dueMs) {
      const connection = free.pop();
      if (connection !== undefined) ask(connection, dueMs);
      return connection !== undefined;
    },
    check() {
      if (wrong > 0) throw new Error(`${wrong} answers were wrong`);
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
    },
  };
}

const REQUEST = `GET /orders/4711 HTTP/1.1\r\nHost: bench\r\naccept: application/json\r\nuser-agent: bench/1.0\r\ncookie: session=0123456789abcdef0123456789abcdef\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n`;

function open(port: number): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true }, () => done(socket));
    socket.once("error", fail);
  });
}
