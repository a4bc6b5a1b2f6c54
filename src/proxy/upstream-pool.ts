import { connect as connectTcp, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { ClientFault } from "./client-fault.ts";
import { UpstreamConnection, type ConnectionOptions } from "./upstream-connection.ts";
import { UpstreamFailure } from "./upstream-failure.ts";
import type { AnswerHandler, UpstreamRequest } from "./upstream-request.ts";

/** How often limits of time are looked at: a tenth of the shortest, within these. */
const LOOK_MS = { min: 10, max: 250 };
/**
 * What plain connections read into, one after the other: a read ends with its call back before there is the
 * next. Memory for each read would cost more than all else that is done with it. On Windows a read holds its
 * memory while it waits, so there each has its own.
 */
const READ_INTO = process.platform === "win32" ? undefined : Buffer.allocUnsafeSlow(65_536);
/** A connection on which nothing moves is asked by TCP whether the other end is there. */
const KEEP_ALIVE_MS = 60_000;

export interface PoolOptions {
  /** Scheme, host and port. */
  readonly url: string;
  readonly connectMsMax: number;
  readonly responseMsMax: number;
  readonly idleMsMax: number;
}

/**
 * The connections to one upstream: kept between requests, the last used first. How many there are at once
 * is up to who asks.
 */
export class UpstreamPool {
  readonly #options: PoolOptions;
  readonly #url: URL;
  readonly #authority: string;
  readonly #idle: UpstreamConnection[] = [];
  readonly #open = new Set<UpstreamConnection>();
  /** With what ends each. */
  readonly #connecting = new Map<Socket, (error: Error) => void>();
  readonly #timer: NodeJS.Timeout;
  #isClosed = false;

  constructor(options: PoolOptions) {
    this.#options = options;
    this.#url = new URL(options.url);
    this.#authority = this.#url.host;
    const shortest = Math.min(options.responseMsMax, options.idleMsMax) / 10;
    const everyMs = Math.min(Math.max(shortest, LOOK_MS.min), LOOK_MS.max);
    this.#timer = setInterval(() => {
      const nowMs = performance.now();
      for (const connection of this.#open) connection.look(nowMs);
    }, everyMs).unref();
  }

  /** Sends a request. @param isFresh on a new connection: those that are kept may all be dead */
  send(request: UpstreamRequest, handler: AnswerHandler, isFresh = false): void {
    if (request.upgrade !== undefined && request.body !== undefined)
      return handler.onError(new ClientFault("a request that changes the protocol has a body"));
    if (this.#isClosed) return handler.onError(endOfProxy());
    const { upgrade } = request;
    const kept = isFresh || upgrade !== undefined ? undefined : this.#kept();
    if (kept !== undefined) return kept.send(request, handler);
    const link = this.#link(upgrade !== undefined);
    handler.onConnect((error) => void link.socket.destroy(error));
    this.#connect(link, (connected) => {
      if (connected instanceof Error) handler.onError(connected);
      else connected.send(request, handler);
    });
  }

  /** Ends all that is under way. */
  close(): void {
    this.#isClosed = true;
    clearInterval(this.#timer);
    const error = endOfProxy();
    for (const end of this.#connecting.values()) end(error);
    for (const connection of this.#open) connection.destroy(error);
  }

  #kept(): UpstreamConnection | undefined {
    for (let one = this.#idle.pop(); one !== undefined; one = this.#idle.pop())
      if (one.isOpen) return one;
    return undefined;
  }

  #connect(link: Link, then: (connected: UpstreamConnection | Error) => void): void {
    const { connectMsMax } = this.#options;
    const { socket, event } = link;
    const timer = setTimeout(() => {
      const message = `no connection within ${connectMsMax} ms`;
      socket.destroy(new UpstreamFailure("upstream-slow", message));
    }, connectMsMax);
    let problem: Error | undefined;
    const settle = (connected: UpstreamConnection | Error): void => {
      clearTimeout(timer);
      this.#connecting.delete(socket);
      socket.off(event, onConnect).off("error", onError).off("close", onClose);
      then(connected);
    };
    this.#connecting.set(socket, (error) => {
      settle(error);
      socket.on("error", () => undefined).destroy();
    });
    const onConnect = (): void => settle(this.#opened(link));
    const onError = (error: Error): void => void (problem = error);
    const onClose = (): void => settle(failureOf(problem));
    socket.once(event, onConnect).on("error", onError).once("close", onClose);
  }

  #opened({ socket, deliver }: Link): UpstreamConnection {
    const { responseMsMax, idleMsMax } = this.#options;
    // One of TLS leaves them out when it is made with them.
    socket.setNoDelay(true).setKeepAlive(true, KEEP_ALIVE_MS);
    const connection = new UpstreamConnection({
      socket,
      deliver,
      authority: this.#authority,
      responseMsMax,
      idleMsMax,
      onIdle: (idle) => void this.#idle.push(idle),
      onClose: (closed) => {
        this.#open.delete(closed);
        const at = this.#idle.indexOf(closed);
        if (at !== -1) this.#idle.splice(at, 1);
      },
    });
    this.#open.add(connection);
    return connection;
  }

  /** @param isForTunnel it becomes a stream in the end */
  #link(isForTunnel: boolean): Link {
    const { protocol, hostname, port } = this.#url;
    // An address of IPv6 has brackets in a URL.
    const host = hostname.replace(/^\[(.*)\]$/, "$1");
    if (protocol !== "https:") {
      const to = { host, port: Number(port || 80) };
      if (READ_INTO === undefined || isForTunnel) return linkOf(connectTcp(to), "connect");
      let take: Parameters<Link["deliver"]>[0] = () => undefined;
      const onread = {
        buffer: READ_INTO,
        callback: (length: number) => {
          take(READ_INTO.subarray(0, length), length < READ_INTO.length);
          return true;
        },
      };
      const socket = connectTcp({ ...to, onread });
      return { socket, event: "connect", deliver: (to) => void (take = to) };
    }
    // The certificate must be the upstream's, not one for the host that a client asked for.
    const named = isIP(host) === 0 ? { servername: host } : {};
    const to = { host, port: Number(port || 443), ...named, ALPNProtocols: ["http/1.1"] };
    return linkOf(connectTls(to), "secureConnect");
  }
}

/** A connection that is being made. */
interface Link extends Pick<ConnectionOptions, "socket" | "deliver"> {
  /** Tells that it can be used. */
  readonly event: "connect" | "secureConnect";
}

function linkOf(socket: Socket, event: Link["event"]): Link {
  return { socket, event, deliver: (take) => void socket.on("data", take) };
}

function endOfProxy(): UpstreamFailure {
  return new UpstreamFailure("upstream-failed", "the proxy ends");
}

function failureOf(problem: Error | undefined): Error {
  if (problem instanceof UpstreamFailure || problem instanceof ClientFault) return problem;
  const message = problem?.message ?? "it closed the connection";
  return new UpstreamFailure("upstream-failed", message, { cause: problem });
}
