import { createServer, request as httpRequest, type IncomingMessage } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { budget } from "../support/random-budget.ts";
import { startTestProxy, until, type TestProxy } from "./proxy-support.ts";

/**
 * Whatever an application does, each client gets its own answer, whole or broken off, or an error of the
 * proxy's: never a byte of another's, and never later than the limits allow. What is sent to an application
 * is whole requests, or one that is broken off with its connection; and at the end nothing is under way.
 */

const LIMIT_MS = 250;
/** Two attempts, with all their limits, on a machine that is busy. */
const ANSWER_MS_MAX = 20_000;

interface Plan {
  readonly method: "GET" | "HEAD" | "PUT" | "DELETE";
  /** Pieces of the request's body, sent apart. */
  readonly sent: readonly number[];
  readonly isChunked: boolean;
  /** It begins so long after the others. */
  readonly afterMs: number;
  /** The client takes nothing of a body at first. */
  readonly isSlow: boolean;
  /** The client goes so many milliseconds after it has sent its head. */
  readonly goneMs: number | undefined;
  readonly answer: {
    readonly hints: number;
    readonly status: 200 | 204 | 304 | 413;
    readonly framing: "length" | "chunked" | "until-close";
    readonly bytes: number;
    /** It does not wait for the request's end. */
    readonly isEarly: boolean;
    /** Comes in the same piece as the end. */
    readonly stray: boolean;
    /** Where it is cut into pieces, in thousandths of it. */
    readonly cuts: readonly number[];
    readonly pauseMs: number;
    /** In thousandths: what is done with the connection there, instead of going on. */
    readonly fault:
      { readonly at: number; readonly what: "end" | "reset" | "silence" | "noise" } | undefined;
    readonly close: boolean;
  };
}

const rarely = <T>(one: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> =>
  fc.oneof({ arbitrary: fc.constant(undefined), weight: 3 }, { arbitrary: one, weight: 1 });
const size = fc.oneof(fc.nat(40), fc.nat(9_000), fc.nat(300_000));
const plan: fc.Arbitrary<Plan> = fc.record({
  method: fc.constantFrom("GET", "GET", "HEAD", "PUT", "PUT", "DELETE"),
  sent: fc.array(size, { maxLength: 4 }),
  isChunked: fc.boolean(),
  afterMs: fc.nat(40),
  isSlow: fc.constantFrom(false, false, true),
  goneMs: rarely(fc.nat(60)),
  answer: fc.record({
    hints: fc.constantFrom(0, 0, 1, 3),
    status: fc.constantFrom(200, 200, 200, 200, 204, 304, 413),
    framing: fc.constantFrom("length", "length", "chunked", "chunked", "until-close"),
    // Some are more than the connections on their way hold.
    bytes: fc.oneof({ arbitrary: size, weight: 12 }, { arbitrary: fc.nat(8_000_000), weight: 1 }),
    isEarly: fc.boolean(),
    stray: fc.boolean(),
    cuts: fc.array(fc.nat(1_000), { maxLength: 4 }),
    pauseMs: fc.constantFrom(0, 0, 1, 5),
    fault: rarely(
      fc.record({ at: fc.nat(1_000), what: fc.constantFrom("end", "reset", "silence", "noise") }),
    ),
    close: fc.boolean(),
  }),
});

const NOISE = "\0noise\r\n\r\n";

/** Bytes that say whose they are. */
function bodyOf(id: string, bytes: number): string {
  return `${id};`.repeat(Math.ceil(bytes / (id.length + 1))).slice(0, bytes);
}

const plans = new Map<string, Plan>();
const problems: string[] = [];
const sockets = new Set<Socket>();
const app = createServer({ requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0 });
app.on("connection", (socket: Socket) => {
  sockets.add(socket);
  socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
});
app.on("clientError", (error: NodeJS.ErrnoException, socket: Socket) => {
  if (!["ECONNRESET", "EPIPE", "HPE_INVALID_EOF_STATE"].includes(error.code ?? ""))
    problems.push(`what came was no request: ${error.code}`);
  socket.destroy();
});
app.on("request", (request: IncomingMessage) => {
  const id = request.url!.slice("/orders/".length);
  const asked = plans.get(id)!;
  let got = "";
  request.on("error", () => undefined);
  request.setEncoding("latin1").on("data", (piece: string) => {
    got += piece;
    if (!sentBody(id, asked).startsWith(got)) problems.push(`${id} got another's body`);
  });
  request.on("end", () => {
    if (got !== sentBody(id, asked)) problems.push(`${id} got a part for the whole of a body`);
  });
  if (asked.answer.isEarly) void answer(request.socket, id, asked);
  else request.on("end", () => void answer(request.socket, id, asked));
});

function sentBody(id: string, { method, sent }: Plan): string {
  return method === "PUT" ? sent.map((bytes) => bodyOf(id, bytes)).join("") : "";
}

async function answer(socket: Socket, id: string, { method, answer: told }: Plan): Promise<void> {
  const { text, rest } = answerText(id, method, told);
  const until = told.fault === undefined ? 1_000 : told.fault.at;
  const cuts = [...told.cuts.filter((cut) => cut < until), until].sort((a, b) => a - b);
  let from = 0;
  for (const cut of cuts) {
    const to = Math.floor((text.length * cut) / 1_000);
    if (socket.destroyed) return;
    // Behind a whole answer, in one piece with its end: later it could not be told from the next one.
    socket.write(text.slice(from, to) + (cut === 1_000 ? rest : ""), "latin1");
    if (cut !== until) await sleep(told.pauseMs);
    from = to;
  }
  if (told.fault?.what === "end") socket.end();
  else if (told.fault?.what === "reset") socket.resetAndDestroy();
  else if (told.fault?.what === "noise") socket.write(NOISE, "latin1");
  else if (told.fault === undefined && (told.close || told.framing === "until-close")) socket.end();
}

function answerText(
  id: string,
  method: string,
  told: Plan["answer"],
): { text: string; rest: string } {
  const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n".repeat(told.hints);
  const body = bodyOf(id, told.bytes);
  const half = Math.ceil(body.length / 2);
  const chunks = [body.slice(0, half), body.slice(half)]
    .filter((one) => one !== "")
    .map((one) => `${one.length.toString(16)};a=b\r\n${one}\r\n`);
  const [framing, framed] = {
    length: [`Content-Length: ${body.length}\r\n`, body],
    chunked: ["Transfer-Encoding: chunked\r\n", `${chunks.join("")}0\r\nX-Sum: 1\r\n\r\n`],
    "until-close": ["", body],
  }[told.framing] as [string, string];
  const hasBody = method !== "HEAD" && told.status !== 204 && told.status !== 304;
  const closes = told.close ? "Connection: close\r\n" : "";
  // With a body that must not be, behind heads without one.
  const isShort = told.framing !== "until-close" && told.bytes < 10_000;
  const stray = told.stray && (!hasBody || isShort);
  const rest = !stray ? "" : hasBody ? "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray" : framed;
  const text = `${hints}HTTP/1.1 ${told.status} As planned\r\nX-Id: ${id}\r\n${closes}${framing}\r\n${hasBody ? framed : ""}`;
  return { text, rest };
}

let proxy: TestProxy;
let run = 0;
beforeAll(async () => {
  await new Promise<void>((done) => app.listen(0, "127.0.0.1", done));
  proxy = await startTestProxy({
    legacy: (app.address() as AddressInfo).port,
    upstream: { responseMsMax: LIMIT_MS, idleMsMax: LIMIT_MS, connectionsMax: 64 },
    rollout: {},
  });
});
afterAll(async () => {
  await proxy[Symbol.asyncDispose]();
  app.closeAllConnections();
  app.close();
});

test(
  "whatever an application does, a client gets its own answer or none",
  { timeout: 600_000 },
  async () => {
    const counts = { whole: 0, broken: 0, refused: 0, gone: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(plan, { minLength: 1, maxLength: 10 }), async (all) => {
        const asked = all.map(async (one, i) => {
          const id = `r${++run}-${i}`;
          plans.set(id, one);
          await sleep(one.afterMs);
          counts[await ask(id, one)]++;
        });
        await Promise.all(asked);
        await untilNothingIsUnderWay();
        expect(problems).toEqual([]);
        // Not so many in a row that the application counts as down.
        await proved();
      }),
      budget(150),
    );
    for (const count of Object.values(counts)) expect(count).toBeGreaterThan(30);
    await until("all connections are closed", () => sockets.size === 0);
  },
);

/** The application is asked at all. */
async function proved(): Promise<void> {
  const id = `r${++run}-p`;
  plans.set(id, GOOD);
  for (let i = 0; i < 30; i++) {
    if ((await ask(id, GOOD)) === "whole") return;
    await sleep(100);
  }
  throw new Error("the application counts as down for ever");
}

const GOOD: Plan = {
  method: "GET",
  sent: [],
  isChunked: false,
  afterMs: 0,
  isSlow: false,
  goneMs: undefined,
  answer: {
    hints: 0,
    status: 200,
    framing: "length",
    bytes: 3,
    isEarly: false,
    stray: false,
    cuts: [],
    pauseMs: 0,
    fault: undefined,
    close: false,
  },
};

async function untilNothingIsUnderWay(): Promise<void> {
  const deadlineMs = performance.now() + ANSWER_MS_MAX;
  for (;;) {
    const text = await proxy.proxy.metrics.text();
    const counts = text.match(/upstream_in_flight\{.*\} \d+/g)!;
    if (counts.length === 2 && counts.every((one) => one.endsWith(" 0"))) return;
    if (performance.now() > deadlineMs) throw new Error(`under way for ever: ${counts.join()}`);
    await sleep(5);
  }
}

/** Asks, and checks what comes. */
async function ask(id: string, asked: Plan): Promise<"whole" | "broken" | "refused" | "gone"> {
  const { method, sent, isChunked, isSlow, goneMs, answer: told } = asked;
  const sinceMs = performance.now();
  const body = sentBody(id, asked);
  const headers: Record<string, string> = { host: "a" };
  if (method === "PUT" && !isChunked) headers["content-length"] = String(body.length);
  const request = httpRequest({
    port: proxy.port,
    method,
    path: `/orders/${id}`,
    agent: false,
    headers,
  });
  let hasGone = false;
  const came = new Promise<"whole" | "broken" | "refused" | "gone">((done, fail) => {
    request.on("error", () => done("broken"));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("latin1").on("data", (piece: string) => (text += piece));
      if (isSlow) {
        response.pause();
        setTimeout(() => response.resume(), 50);
      }
      response.on("error", () => undefined);
      response.on("close", () => {
        const { statusCode = 0, headers: heads } = response;
        if (heads["banyan-refused"] !== undefined) {
          if (statusCode >= 500) done("refused");
          else fail(new Error(`${id} was refused with ${statusCode}`));
          return;
        }
        const hasBody = method !== "HEAD" && statusCode !== 204 && statusCode !== 304;
        const whole = hasBody ? bodyOf(id, told.bytes) : "";
        let own = 0;
        while (own < text.length && text[own] === whole[own]) own++;
        // What an application says in its own answer is its own affair.
        const isOwn =
          own === text.length ||
          (told.fault?.what === "noise" && NOISE.startsWith(text.slice(own)));
        // A reset right behind the last bytes is told as an end. So ends who has not read what came.
        const mayBeShort =
          // A client that has gone leaves unread what had come.
          hasGone ||
          told.fault?.what === "noise" ||
          (told.framing === "until-close" && (told.fault !== undefined || told.isEarly));
        if (heads["x-id"] !== id || statusCode !== told.status)
          fail(new Error(`${id} got the answer to ${String(heads["x-id"])}`));
        else if (!isOwn) fail(new Error(`${id} got ${JSON.stringify(text.slice(own, own + 99))}`));
        else if (!response.complete) done("broken");
        else if (own < whole.length && !mayBeShort)
          fail(new Error(`${id} got a part for the whole`));
        else done("whole");
      });
    });
  });
  if (method === "PUT") {
    request.flushHeaders();
    for (const bytes of sent) {
      await sleep(1);
      if (request.destroyed) break;
      request.write(bodyOf(id, bytes), "latin1");
    }
  }
  request.end();
  const goAway = (): void => {
    hasGone = true;
    request.destroy();
  };
  const gone = goneMs === undefined ? undefined : setTimeout(goAway, goneMs);
  const late = sleep(ANSWER_MS_MAX, "late" as const, { ref: false });
  const outcome = await Promise.race([came, late]);
  clearTimeout(gone);
  if (outcome === "late") throw new Error(`${id} got nothing in time: ${JSON.stringify(asked)}`);
  if (performance.now() - sinceMs > ANSWER_MS_MAX) throw new Error("late");
  return outcome === "broken" && request.destroyed && goneMs !== undefined ? "gone" : outcome;
}
