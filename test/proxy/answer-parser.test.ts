import { request as httpRequest } from "node:http";
import { Duplex } from "node:stream";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AnswerFault } from "../../src/proxy/answer-head.ts";
import { AnswerParser } from "../../src/proxy/answer-parser.ts";
import { budget } from "../support/random-budget.ts";

const OK = "HTTP/1.1 200 OK\r\n";
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;

/** What was read of one answer. */
interface Read {
  readonly hints: number[];
  status?: number;
  text?: string;
  headers?: readonly string[];
  body: string;
  trailers?: readonly string[];
  tunnel?: string;
  fault?: string;
}

/** Reads pieces of bytes in Latin-1, and then the end of the connection unless it is left open. */
function read(
  pieces: readonly string[],
  { method = "GET", isUpgrade = false, ends = false } = {},
): Read {
  const found: Read = { hints: [], body: "" };
  const parser = new AnswerParser({
    onHint: ({ status }) => void found.hints.push(status),
    onHead: ({ status, text, headers }) => void Object.assign(found, { status, text, headers }),
    onBody: (piece) => void (found.body += piece.toString("latin1")),
    onEnd: (trailers) => void (found.trailers = trailers),
    onSwitch: (headers, rest) => void Object.assign(found, { headers, tunnel: rest.toString() }),
  });
  parser.expect({ method, isUpgrade });
  try {
    for (const piece of pieces) parser.take(Buffer.from(piece, "latin1"));
    if (ends) parser.finish();
  } catch (error) {
    if (!(error instanceof AnswerFault)) throw error;
    found.fault = error.message;
  }
  return found;
}

describe("an answer is read", () => {
  test("with a length", () => {
    expect(read([`${OK}Content-Length: 5\r\nX-A: b\r\n\r\nhello`])).toEqual({
      hints: [],
      status: 200,
      text: "OK",
      headers: ["Content-Length", "5", "X-A", "b"],
      body: "hello",
      trailers: [],
    });
  });

  test("in chunks, with what is said beside them", () => {
    const body = 'a;name="x"\r\n0123456789\r\n1\r\n!\r\n0;last\r\nX-Sum: 1\r\nX-More:\r\n\r\n';
    expect(read([CHUNKED + body])).toMatchObject({
      body: "0123456789!",
      trailers: ["X-Sum", "1", "X-More", ""],
    });
  });

  test("up to the end of the connection when it has neither", () => {
    const text = `${OK}\r\nall of it`;
    expect(read([text]).trailers).toBeUndefined();
    expect(read([text], { ends: true })).toMatchObject({ body: "all of it", trailers: [] });
  });

  test.each([
    ["to HEAD", "HEAD", "200 OK"],
    ["of status 204", "GET", "204 No Content"],
    ["of status 304", "GET", "304 Not Modified"],
  ])("%s without a body, whatever it says", (_, method, status) => {
    for (const framing of ["Content-Length: 5", "Transfer-Encoding: chunked", "X-A: b"])
      expect(read([`HTTP/1.1 ${status}\r\n${framing}\r\n\r\n`], { method })).toMatchObject({
        body: "",
        trailers: [],
      });
  });

  test("behind hints", () => {
    const hints = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n";
    expect(read([`${hints}${OK}Content-Length: 0\r\n\r\n`])).toMatchObject({
      hints: [100, 103],
      status: 200,
      trailers: [],
    });
  });

  test("with every byte of a value, and only spaces and tabs off its ends", () => {
    const value = Buffer.from("à Á").toString("latin1");
    const { headers } = read([`${OK}X-A: \t ${value} \t\r\nX-B:\r\nContent-Length: 0\r\n\r\n`]);
    expect(headers).toEqual(["X-A", value, "X-B", "", "Content-Length", "0"]);
  });

  test("without a reason", () => {
    for (const line of ["HTTP/1.1 200\r\n", "HTTP/1.1 200 \r\n"])
      expect(read([`${line}Content-Length: 0\r\n\r\n`])).toMatchObject({ status: 200, text: "" });
  });

  test("as a change of the protocol where that was asked for", () => {
    const text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nfirst bytes";
    const headers = ["Upgrade", "x"];
    expect(read([text], { isUpgrade: true })).toMatchObject({ headers, tunnel: "first bytes" });
    expect(read([text]).fault).toMatch(/unasked/);
  });
});

describe("a fault is", () => {
  test.each([
    ["another version", "HTTP/2.0 200 OK\r\n\r\n"],
    ["a status that there is not", "HTTP/1.1 099 No\r\nContent-Length: 0\r\n\r\n"],
    ["a status of four digits", "HTTP/1.1 2000 No\r\nContent-Length: 0\r\n\r\n"],
    ["white space before the version", " HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ["a length and a coding", `${OK}Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\na`],
    ["two lengths", `${OK}Content-Length: 1\r\nContent-Length: 1\r\n\r\na`],
    ["a list of lengths", `${OK}Content-Length: 1, 1\r\n\r\na`],
    ["a signed length", `${OK}Content-Length: +1\r\n\r\na`],
    ["a length that no number holds", `${OK}Content-Length: 99999999999999999999\r\n\r\na`],
    ["an empty length", `${OK}Content-Length:\r\n\r\na`],
    ["another coding", `${OK}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`],
    ["two codings", `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ["a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"],
    ["a folded header", `${OK}X-A: b\r\n c\r\n\r\n`],
    ["a space before the colon", `${OK}Content-Length : 1\r\n\r\na`],
    ["a header without a name", `${OK}: b\r\n\r\n`],
    ["a header without a colon", `${OK}X-A\r\n\r\n`],
    ["a bare carriage return", `${OK}X-A: b\rContent-Length: 5\r\n\r\n`],
    ["a bare line feed", `${OK}X-A: b\nContent-Length: 5\r\n\r\n`],
    ["a NUL in a header", `${OK}X-A: b\0\r\n\r\n`],
    ["a chunk of no size", `${CHUNKED}\r\n\r\n`],
    ["a chunk of a signed size", `${CHUNKED}+1\r\na\r\n0\r\n\r\n`],
    ["a chunk size in front of a space", `${CHUNKED}1 \r\na\r\n0\r\n\r\n`],
    ["a chunk size that no number holds", `${CHUNKED}${"f".repeat(17)}\r\na\r\n0\r\n\r\n`],
    ["a chunk longer than its size", `${CHUNKED}1\r\nab\r\n0\r\n\r\n`],
    ["a chunk size that ends in a line feed", `${CHUNKED}1\na\r\n0\r\n\r\n`],
    ["a length among the trailers", `${CHUNKED}0\r\nContent-Length: 1\r\n\r\n`],
    ["a trailer that is none", `${CHUNKED}0\r\nnone\r\n\r\n`],
    ["a head without end", `${OK}X-A: ${"b".repeat(70_000)}`],
    ["hints without end", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n".repeat(2_000)],
    ["an extension of a chunk without a name", `${CHUNKED}1;\r\na\r\n0\r\n\r\n`],
    ["an extension of a chunk that is no token", `${CHUNKED}1\r\na\r\n0;:\r\n\r\n`],
    ["a quoted extension of a chunk that does not end", `${CHUNKED}1;a="b\r\na\r\n0\r\n\r\n`],
    ["a chunk's extension without end", `${CHUNKED}1;${"b".repeat(10_000)}`],
    ["more than was asked for", `${OK}Content-Length: 1\r\n\r\na${OK}`],
  ])("%s", (_, text) => {
    expect(read([text]).fault).toBeDefined();
  });

  test.each([
    ["a head", OK],
    ["a body with a length", `${OK}Content-Length: 5\r\n\r\nfour`],
    ["a chunk", `${CHUNKED}5\r\nfour`],
    ["the last chunk", `${CHUNKED}4\r\nfour\r\n`],
    ["trailers", `${CHUNKED}0\r\nX-A: b\r\n`],
  ])("the end of the connection within %s", (_, text) => {
    expect(read([text], { ends: true })).toMatchObject({ fault: "it closed the connection" });
  });
});

const token = fc.constantFrom(
  "X-A",
  "x-b",
  "Content-Type",
  "Set-Cookie",
  "Connection",
  "Keep-Alive",
);
const value = fc.string({
  unit: fc.constantFrom(..."ab 1,;=:\t\u00e9\u00a0".split("")),
  maxLength: 12,
});
const header = fc.tuple(token, value).map(([name, text]) => `${name}: ${text}\r\n`);
const bytes = fc.string({ unit: fc.constantFrom(..."ab\r\n0;:\0\u00ff".split("")), maxLength: 40 });
const framed = fc.oneof(
  bytes.map((body) => [`Content-Length: ${body.length}\r\n`, body] as const),
  fc.array(bytes, { maxLength: 4 }).chain((chunks) =>
    fc.constantFrom("", "X-Sum: 6\r\n").map((trailer) => {
      const whole = chunks.filter((one) => one !== "");
      const text = whole.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join("");
      return ["Transfer-Encoding: chunked\r\n", `${text}0\r\n${trailer}\r\n`] as const;
    }),
  ),
  bytes.map((body) => ["", body] as const),
);
const answer = fc
  .tuple(fc.array(header, { maxLength: 4 }), framed, fc.constantFrom("200 OK", "404 No", "500"))
  .map(([headers, [framing, body], status]) => {
    return `HTTP/1.1 ${status}\r\n${headers.join("")}${framing}\r\n${body}`;
  });

test("an answer is the same however it is cut into pieces", () => {
  fc.assert(
    fc.property(answer, fc.array(fc.nat(200), { maxLength: 20 }), (text, cuts) => {
      const at = [0, ...cuts.filter((cut) => cut < text.length), text.length].sort((a, b) => a - b);
      const pieces = at.slice(1).map((end, i) => text.slice(at[i], end));
      const whole = read([text], { ends: true });
      expect(whole.fault).toBeUndefined();
      expect(read(pieces, { ends: true })).toEqual(whole);
    }),
    budget(5_000),
  );
});

test("what is taken is what Node's own parser takes it for", { timeout: 300_000 }, async () => {
  let taken = 0;
  const spoilt = fc
    .tuple(answer, fc.array(fc.tuple(fc.nat(200), bytes), { maxLength: 2 }))
    .map(([text, changes]) => {
      for (const [at, put] of changes)
        text = text.slice(0, at) + put.slice(0, 3) + text.slice(at + (put.length % 2));
      return text;
    });
  await fc.assert(
    fc.asyncProperty(fc.oneof(answer, spoilt), async (text) => {
      const ours = read([text], { ends: true });
      if (ours.fault !== undefined) return;
      taken++;
      expect(await readByNode(text)).toEqual({
        status: ours.status,
        text: ours.text,
        headers: ours.headers,
        body: ours.body,
      });
    }),
    budget(2_000),
  );
  expect(taken).toBeGreaterThan(500);
});

/** The same as node:http reads it. */
function readByNode(text: string): Promise<Partial<Read> | string> {
  const connection = new Duplex({
    read: () => undefined,
    write: (_chunk, _encoding, done) => done(),
  });
  return new Promise((done) => {
    const request = httpRequest({ createConnection: () => connection }, (response) => {
      let body = "";
      response.setEncoding("latin1").on("data", (piece: string) => (body += piece));
      response.on("end", () =>
        done({
          status: response.statusCode!,
          text: response.statusMessage!,
          headers: response.rawHeaders,
          body,
        }),
      );
      response.on("error", (error) => done(error.message));
    });
    request.on("error", (error) => done(error.message));
    request.end();
    connection.push(Buffer.from(text, "latin1"));
    connection.push(null);
  });
}
