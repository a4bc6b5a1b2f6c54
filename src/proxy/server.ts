import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { responseUnderWay } from "./connection-turns.ts";
import { handle, type Handling } from "./handle.ts";
import { rawAnswer, type Refusal } from "./refusal.ts";
import { handleUpgrade } from "./tunnel.ts";
import { aborted } from "../runtime/aborted.ts";

/** Connections of clients at once; further ones are closed. */
const CONNECTIONS_MAX = 10_000;
/** All header lines of a request. */
const HEADERS_BYTES_MAX = 16_384;
/** From the beginning of a connection, or the end of the request before, to the end of the next head. */
const HEADERS_MS_MAX = 10_000;
/** A connection without a request. Longer than a load balancer keeps it, who would send one just then. */
const IDLE_MS_MAX = 75_000;
/** How often those limits of time are looked at. */
const LOOK_MS = 1_000;
/** A connection on which nothing moves is asked by TCP whether the other end is there: a tunnel has no limit. */
const KEEP_ALIVE_MS = 60_000;

export interface ClientServer {
  readonly server: Server;
  /** Connections that are open. */
  readonly connections: number;
  /** Closes what is idle, waits for what is under way until the signal aborts, then closes that too. */
  drain(signal: AbortSignal): Promise<void>;
}

/** The listener for clients. @param headersMsMax for tests */
export function clientServer(handling: Handling, headersMsMax = HEADERS_MS_MAX): ClientServer {
  const sockets = new Set<Socket>();
  const server = createServer(
    {
      insecureHTTPParser: false,
      requireHostHeader: false,
      maxHeaderSize: HEADERS_BYTES_MAX,
      headersTimeout: headersMsMax,
      // A body may take as long as it takes, as long as it moves: see request-body.ts.
      requestTimeout: 0,
      keepAliveTimeout: IDLE_MS_MAX,
      connectionsCheckingInterval: Math.min(LOOK_MS, headersMsMax / 4),
      noDelay: true,
      keepAlive: true,
      keepAliveInitialDelay: KEEP_ALIVE_MS,
    },
    (request, response) => handle(handling, request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  // Left to itself the server would leave out what is beyond; admission refuses it.
  server.maxHeadersCount = 0;
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) => {
    handle(handling, request, response, { expectsContinue: true });
  });
  server.on("checkExpectation", (request: IncomingMessage) => {
    answerRaw(request.socket, "expectation");
  });
  server.on("upgrade", (request: IncomingMessage, socket: Duplex, early: Buffer) => {
    handleUpgrade(handling, request, socket, early);
  });
  server.on("connect", (_request: IncomingMessage, socket: Duplex) => answerRaw(socket, "method"));
  server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => {
    if (error.code === "ECONNRESET" || !socket.writable) socket.destroy();
    else answerUnread(socket, refusalOf(error.code));
  });
  return {
    server,
    get connections() {
      return sockets.size;
    },
    drain: (signal) => drain(server, sockets, signal),
  };
}

function refusalOf(code: string | undefined): Refusal {
  if (code === "HPE_HEADER_OVERFLOW") return "large-headers";
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return "slow-request";
  return code === "HPE_INVALID_METHOD" ? "method" : "framing";
}

/** Never into the midst of an answer that the same client is getting. */
function answerUnread(socket: Duplex, refusal: Refusal): void {
  const response = responseUnderWay(socket);
  if (response === undefined) return answerRaw(socket, refusal);
  if (response.req.complete) response.once("close", () => answerRaw(socket, refusal));
  // It is its own body that cannot be read on.
  else if (response.headersSent) socket.destroy();
  else answerRaw(socket, refusal);
}

/** What follows on this connection cannot be understood, so it ends. */
function answerRaw(socket: Duplex, refusal: Refusal): void {
  socket.on("error", () => socket.destroy());
  socket.end(rawAnswer(refusal), () => socket.destroy());
}

async function drain(
  server: Server,
  sockets: ReadonlySet<Socket>,
  signal: AbortSignal,
): Promise<void> {
  const closed = new Promise<void>((done) => server.close(() => done()));
  const closeIdle = (): void => {
    server.closeIdleConnections();
    // One that has never sent anything does not count as idle there.
    for (const socket of sockets) if (socket.bytesRead === 0) socket.destroy();
  };
  const timer = setInterval(closeIdle, 50);
  closeIdle();
  await Promise.race([closed, aborted(signal)]);
  clearInterval(timer);
  // Tunnels among them, which the server counts no more.
  for (const socket of sockets) socket.destroy();
}
