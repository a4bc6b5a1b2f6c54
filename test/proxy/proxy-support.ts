import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { MemoryRolloutState } from "../../connectors/memory/rollout-state.ts";
import { startProxy, type ProxyOptions, type RunningProxy } from "../../src/proxy/proxy.ts";
import type { ProxySettings, RouteSettings, UpstreamSettings } from "../../src/proxy/settings.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import type { Rollout } from "../../src/rollout/stage.ts";

/** A machine that is busy with other tests takes its time. */
const WAIT_MS_MAX = 45_000;

/** A request as an application got it. */
export interface Received {
  readonly method: string;
  readonly url: string;
  readonly rawHeaders: readonly string[];
  readonly headers: IncomingMessage["headers"];
  readonly trailers: IncomingMessage["trailers"];
  readonly body: string;
}

export interface TestApp extends AsyncDisposable {
  readonly port: number;
  readonly server: Server;
  /** Whole requests, in the order of their ends. */
  readonly received: Received[];
  /** Begun ones too. */
  begun(): number;
}

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** An application that remembers what it was asked. Without `answer` it says its name and the path. */
export async function startApp(
  name: string,
  answer?: Answer,
  host = "127.0.0.1",
): Promise<TestApp> {
  const received: Received[] = [];
  let begun = 0;
  const server = createServer((request, response) => {
    begun++;
    const chunks: Buffer[] = [];
    request.on("error", () => undefined);
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const body = Buffer.concat(chunks).toString();
      const { method = "", url = "", rawHeaders, headers, trailers } = request;
      received.push({ method, url, rawHeaders, headers, trailers, body });
      if (answer === undefined) response.end(`${name} ${url}`);
      else answer(request, response, body);
    });
  });
  return await listening(server, host, { received, begun: () => begun });
}

/** An application that handles each request itself, from its head on. */
export async function startRawApp(
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<TestApp> {
  let begun = 0;
  const server = createServer((request, response) => {
    begun++;
    handler(request, response);
  });
  return await listening(server, "127.0.0.1", { received: [], begun: () => begun });
}

async function listening(
  server: Server,
  host: string,
  rest: Pick<TestApp, "received" | "begun">,
): Promise<TestApp> {
  await new Promise<void>((done) => server.listen(0, host, done));
  return {
    ...rest,
    server,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

/** An application of bytes: what it does with each connection is up to the test. */
export async function startTcpApp(
  onConnection: (socket: Socket) => void,
): Promise<AsyncDisposable & { readonly port: number; connections(): number }> {
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createTcpServer((socket) => {
    connections++;
    sockets.add(socket);
    socket.on("error", () => undefined);
    onConnection(socket);
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => connections,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((done) => server.close(done));
    },
  };
}

export interface TestProxy extends AsyncDisposable {
  readonly port: number;
  readonly proxy: RunningProxy;
  readonly state: MemoryRolloutState;
  readonly notes: string[];
  readonly url: string;
  /** Decides a rollout and waits until the proxy knows it. */
  roll(type: string, rollout: Partial<Rollout>): Promise<void>;
}

export interface TestProxyOptions extends Partial<Omit<ProxyOptions, "settings">> {
  readonly legacy: number;
  readonly new?: number;
  readonly routes?: readonly RouteSettings[];
  readonly upstream?: Partial<UpstreamSettings>;
  /** Of both applications. */
  readonly scheme?: "http" | "https";
  readonly settings?: Partial<ProxySettings>;
  readonly rollout?: Partial<Rollout>;
  /** The store is down at the start. */
  readonly stateUnreachable?: boolean;
}

export const ORDER_ROUTES: readonly RouteSettings[] = [
  route(["GET"], "/orders/:id", "read", { path: "id" }),
  route(["PUT", "PATCH", "DELETE"], "/orders/:id", "write", { path: "id" }),
  route(["GET"], "/orders", "read", { query: "id" }),
  route(["POST"], "/orders", "create"),
  route(["POST"], "/payments", "write", { json: "order.id" }),
  route(["POST"], "/shipments", "write", { header: "x-order-id" }),
];

export function route(
  methods: readonly string[],
  path: string,
  kind: RouteSettings["kind"],
  id?: RouteSettings["id"],
): RouteSettings {
  return { methods, path, stream: "order", kind, id, idForm: "text" };
}

export const UPSTREAM: Omit<UpstreamSettings, "url"> = {
  connectionsMax: 64,
  // Longer than a process waits for a processor: a test that means one of these sets it.
  connectMsMax: 10_000,
  responseMsMax: 20_000,
  idleMsMax: 20_000,
  healthEveryMs: 50,
};

/** A proxy in front of applications on loopback, on a free port. */
export async function startTestProxy(options: TestProxyOptions): Promise<TestProxy> {
  const state = new MemoryRolloutState();
  state.unreachable = options.stateUnreachable === true;
  const salt = "salt";
  let epoch = 1;
  if (options.rollout !== undefined) {
    state.put("order", { stage: "legacy", share: 0, salt, epoch, ...options.rollout });
  }
  const notes: string[] = [];
  const upstream = (port: number): UpstreamSettings => ({
    ...UPSTREAM,
    ...options.upstream,
    url: `${options.scheme ?? "http"}://127.0.0.1:${port}`,
  });
  const proxy = await startProxy({
    ...options,
    settings: {
      listen: { host: "127.0.0.1", port: 0 },
      upstreams: { legacy: upstream(options.legacy), new: upstream(options.new ?? options.legacy) },
      routes: options.routes ?? ORDER_ROUTES,
      trusted: [],
      ...options.settings,
    },
    state,
    watch: { pollMs: 10, ...options.watch },
    onNote: (text) => notes.push(text),
  });
  return {
    port: proxy.address.port,
    url: `http://127.0.0.1:${proxy.address.port}`,
    proxy,
    state,
    notes,
    async roll(type, rollout) {
      const next = { stage: "legacy" as const, share: 0, salt, epoch: ++epoch, ...rollout };
      epoch = next.epoch;
      state.put(type, next);
      await until("the proxy knows", () => notes.some((text) => text.endsWith(`epoch ${epoch}`)));
    },
    [Symbol.asyncDispose]: () => proxy.close(AbortSignal.timeout(100)),
  };
}

export interface RawClient {
  readonly socket: Socket;
  /** All that has come so far. */
  text(): string;
  send(text: string): void;
  /** Waits until what has come matches, and gives all of it. */
  until(pattern: RegExp): Promise<string>;
  /** Waits until the other side has closed. */
  closed(): Promise<string>;
}

/** A client of bytes. */
export function rawClient(port: number, host = "127.0.0.1"): RawClient {
  const socket = connect(port, host);
  let got = "";
  let isClosed = false;
  socket.setEncoding("latin1").on("data", (text: string) => (got += text));
  socket.on("error", () => undefined).on("close", () => (isClosed = true));
  return {
    socket,
    text: () => got,
    send: (text) => void socket.write(Buffer.from(text, "latin1")),
    async until(pattern) {
      await until(`${pattern} in ${JSON.stringify(got.slice(0, 400))}`, () => pattern.test(got));
      return got;
    },
    async closed() {
      await until("the connection closes", () => isClosed);
      return got;
    },
  };
}

/** Sends bytes, and gives the first whole answer (or what came until the connection closed). */
export async function exchangeRaw(port: number, text: string): Promise<string> {
  const client = rawClient(port);
  client.send(text);
  try {
    let isClosed = false;
    client.socket.once("close", () => (isClosed = true));
    await until("an answer", () => isClosed || isWhole(client.text()));
    return client.text();
  } finally {
    client.socket.destroy();
  }
}

function isWhole(text: string): boolean {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return false;
  const head = text.slice(0, end);
  const length = /\r\ncontent-length: (\d+)/i.exec(head)?.[1];
  if (length !== undefined) return text.length >= end + 4 + Number(length);
  return /\r\ntransfer-encoding: chunked/i.test(head) ? text.endsWith("0\r\n\r\n") : true;
}

export function statusOf(answer: string): number {
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1]);
}

export function refusalOf(answer: string): string | undefined {
  return /\r\nbanyan-refused: ([\w-]+)/i.exec(answer)?.[1];
}

/** An id whose bucket, with the salt of {@link startTestProxy}, is as wanted. */
export function idWhere(fits: (bucket: number) => boolean): string {
  for (let n = 1; n < 1_000; n++) if (fits(bucketOf(String(n), "salt"))) return String(n);
  throw new Error("no id of a thousand is there");
}

/** Of one turn of this process; what it has waited for longer, it has waited for a processor. */
const TURN_MS_MAX = 25;
const TICK_MS = 5;

/** How long something takes while this process gets its turns: a machine that is busy with others adds nothing. */
export class RunningTime implements Disposable {
  readonly #timer = setInterval(() => this.#tick(), TICK_MS);
  #lastMs = performance.now();
  #ms = 0;

  get ms(): number {
    this.#tick();
    return this.#ms;
  }

  #tick(): void {
    const nowMs = performance.now();
    this.#ms += Math.min(nowMs - this.#lastMs, TURN_MS_MAX);
    this.#lastMs = nowMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Waits for what will be so shortly. */
export async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WAIT_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`not within ${WAIT_MS_MAX} ms: ${what}`);
    await sleep(2);
  }
}
