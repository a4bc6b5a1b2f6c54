import { connect, createServer, type AddressInfo, type Socket } from "node:net";

export interface TcpTarget {
  readonly host: string;
  readonly port: number;
}

/** Which way bytes flow: `up` from the client to the server, `down` back to it. */
export type Direction = "up" | "down" | "both";

/** A TCP proxy on loopback that breaks connections in the ways networks do. */
export interface TcpProxy extends AsyncDisposable {
  readonly port: number;
  /** A URL that led to the target, led through the proxy instead. */
  url(target: string): string;
  /** Connections that are open now. */
  connections(): number;
  /** Bytes forwarded so far; `down` is what the server sent. */
  readonly bytes: { readonly up: number; readonly down: number };
  /** Resets every connection, on both sides; new ones are served as before. */
  cut(): void;
  /**
   * Resets the next connection that would carry more than the given number of further bytes from the
   * server, or to it.
   *
   * @returns asked whether it came to that
   */
  cutAfter(bytesMax: number, way?: "up" | "down"): () => boolean;
  /** Stops forwarding; nothing is lost, senders feel backpressure. New connections stall as well. */
  stall(direction?: Direction): void;
  /** The server side is closed, and the client never learns of it: what it sends vanishes. */
  halfOpen(): void;
  /** Delays each piece of at least so many bytes by this many ms in each direction; order is kept. */
  delay(ms: number, bytesMin?: number): void;
  /** Open connections go on, new ones are reset at once. */
  refuse(): void;
  /** Ends `stall`, `delay` and `refuse`. Connections that are half open stay so. */
  resume(): void;
}

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
  halfOpen: boolean;
}

/** Starts a proxy in front of `target`; disposing it resets what is open. */
export async function startTcpProxy(target: TcpTarget): Promise<TcpProxy> {
  const pairs = new Set<Pair>();
  const bytes = { up: 0, down: 0 };
  const stalled = { up: false, down: false };
  let delayMs = 0;
  let delayedBytesMin = 0;
  let refusing = false;
  const cutAt = { up: Infinity, down: Infinity };
  let cuts = 0;

  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    if (refusing) {
      client.on("error", () => undefined);
      client.resetAndDestroy();
      return;
    }
    const server = connect({ ...target, allowHalfOpen: true, noDelay: true });
    const pair: Pair = { client, server, halfOpen: false };
    pairs.add(pair);
    forward(pair, "up");
    forward(pair, "down");
  });
  await new Promise<void>((done, fail) => {
    listener.once("error", fail);
    listener.listen(0, "127.0.0.1", done);
  });
  const { port } = listener.address() as AddressInfo;

  function forward(pair: Pair, way: "up" | "down"): void {
    const [from, to] = way === "up" ? [pair.client, pair.server] : [pair.server, pair.client];
    // One piece is under way at a time, so a delay keeps the order.
    let busy = false;
    const next = (): void => {
      if (busy || stalled[way]) return;
      const piece = from.read() as Buffer | null;
      if (piece === null) return;
      if (pair.halfOpen) return next();
      busy = true;
      const deliver = (): void => {
        if (stalled[way]) return void from.once("resumed", deliver);
        if (bytes[way] + piece.length > cutAt[way]) {
          cutAt[way] = Infinity;
          cuts += 1;
          return reset(pair);
        }
        bytes[way] += piece.length;
        const sent = (): void => {
          busy = false;
          next();
        };
        if (to.destroyed || to.write(piece)) sent();
        else to.once("drain", sent);
      };
      if (delayMs > 0 && piece.length >= delayedBytesMin) setTimeout(deliver, delayMs);
      else deliver();
    };
    from.on("readable", next);
    from.on("resumed", next);
    from.on("end", () => {
      if (!pair.halfOpen) to.end();
    });
    from.on("error", () => {
      if (!pair.halfOpen) reset(pair);
    });
    from.on("close", () => {
      if (from === pair.client || !pair.halfOpen) pairs.delete(pair);
      if (from === pair.client) pair.server.destroy();
    });
  }

  function reset(pair: Pair): void {
    pairs.delete(pair);
    pair.client.resetAndDestroy();
    pair.server.resetAndDestroy();
  }

  function resume(): void {
    stalled.up = stalled.down = refusing = false;
    delayMs = 0;
    for (const { client, server } of pairs) {
      client.emit("resumed");
      server.emit("resumed");
    }
  }

  function cut(): void {
    for (const pair of [...pairs]) reset(pair);
  }

  return {
    port,
    url(address) {
      const url = new URL(address);
      url.hostname = "127.0.0.1";
      url.port = String(port);
      return url.href;
    },
    connections: () => pairs.size,
    bytes,
    cut,
    cutAfter(bytesMax, way = "down") {
      const before = cuts;
      cutAt[way] = bytes[way] + bytesMax;
      return () => cuts > before;
    },
    stall(direction = "both") {
      if (direction !== "down") stalled.up = true;
      if (direction !== "up") stalled.down = true;
    },
    halfOpen() {
      for (const pair of pairs) {
        pair.halfOpen = true;
        pair.server.destroy();
        pair.client.emit("resumed");
      }
    },
    delay(ms, bytesMin = 0) {
      delayMs = ms;
      delayedBytesMin = bytesMin;
    },
    refuse: () => (refusing = true),
    resume,
    async [Symbol.asyncDispose]() {
      cut();
      await new Promise((done) => listener.close(done));
    },
  };
}
