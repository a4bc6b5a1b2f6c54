import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

let server: Server;
let accepted: Socket[];
let proxy: TcpProxy;
let heardByServer = "";

/** Answers every piece with the same text in capitals. */
beforeEach(async () => {
  accepted = [];
  heardByServer = "";
  server = createServer((socket) => {
    accepted.push(socket);
    socket.on("error", () => undefined);
    socket.on("data", (piece) => {
      heardByServer += piece.toString();
      socket.write(piece.toString().toUpperCase());
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  proxy = await startTcpProxy({
    host: "127.0.0.1",
    port: (server.address() as { port: number }).port,
  });
});

afterEach(async () => {
  await proxy[Symbol.asyncDispose]();
  for (const socket of accepted) socket.destroy();
  await new Promise((done) => server.close(done));
});

interface Client {
  readonly socket: Socket;
  heard: string;
  /** Code of the error that ended it, or `end`. */
  ended: string | undefined;
}

async function open(): Promise<Client> {
  const socket = connect(proxy.port, "127.0.0.1");
  const client: Client = { socket, heard: "", ended: undefined };
  socket.on("data", (piece) => (client.heard += piece.toString()));
  socket.on("error", (error: NodeJS.ErrnoException) => (client.ended = error.code));
  socket.on("end", () => (client.ended ??= "end"));
  await once(socket, "connect");
  return client;
}

const QUIET_MS = 60;
/** The suite around it may be busy. */
const WAIT = { timeout: 20_000 };

test("bytes pass in both directions and are counted, and an orderly end passes too", async () => {
  const client = await open();
  client.socket.write("abc");
  await vi.waitFor(() => expect(client.heard).toBe("ABC"), WAIT);
  expect(proxy.bytes).toEqual({ up: 3, down: 3 });
  client.socket.end();
  await vi.waitFor(() => expect(client.ended).toBe("end"), WAIT);
  await vi.waitFor(() => expect(proxy.connections()).toBe(0), WAIT);
  expect(accepted[0]!.destroyed).toBe(true);
});

test("a megabyte passes unchanged", async () => {
  const client = await open();
  const text = "abcdefghij".repeat(100_000);
  client.socket.write(text);
  await vi.waitFor(() => expect(client.heard.length).toBe(text.length), WAIT);
  expect(client.heard).toBe(text.toUpperCase());
});

test("cut resets both sides, and new connections work", async () => {
  const client = await open();
  client.socket.write("a");
  await vi.waitFor(() => expect(client.heard).toBe("A"), WAIT);
  const serverSide = new Promise((done) => accepted[0]!.once("close", done));
  proxy.cut();
  await serverSide;
  await vi.waitFor(() => expect(client.ended).toBe("ECONNRESET"), WAIT);
  const again = await open();
  again.socket.write("b");
  await vi.waitFor(() => expect(again.heard).toBe("B"), WAIT);
});

test("cutAfter lets exactly as much through as it may", async () => {
  proxy.cutAfter(2);
  const client = await open();
  for (const [i, letter] of ["a", "b"].entries()) {
    client.socket.write(letter);
    await vi.waitFor(() => expect(client.heard).toHaveLength(i + 1), WAIT);
  }
  client.socket.write("c");
  await vi.waitFor(() => expect(client.ended).toBe("ECONNRESET"), WAIT);
  expect(client.heard).toBe("AB");
});

test("cutAfter counts what is sent to the server where it is told to", async () => {
  const isCut = proxy.cutAfter(2, "up");
  const client = await open();
  client.socket.write("ab");
  await vi.waitFor(() => expect(client.heard).toBe("AB"), WAIT);
  expect(isCut()).toBe(false);
  client.socket.write("c");
  await vi.waitFor(() => expect(client.ended).toBe("ECONNRESET"), WAIT);
  expect(isCut()).toBe(true);
  expect(heardByServer).toBe("ab");
});

test("stall stops one direction or both, and resume loses nothing", async () => {
  const client = await open();
  proxy.stall("down");
  client.socket.write("a");
  await vi.waitFor(() => expect(heardByServer).toBe("a"), WAIT);
  await sleep(QUIET_MS);
  expect(client.heard).toBe("");
  proxy.resume();
  await vi.waitFor(() => expect(client.heard).toBe("A"), WAIT);
  proxy.stall();
  client.socket.write("b");
  const later = await open();
  later.socket.write("x");
  await sleep(QUIET_MS);
  expect(heardByServer).toBe("a");
  proxy.resume();
  await vi.waitFor(() => expect([client.heard, later.heard]).toEqual(["AB", "X"]), WAIT);
});

test("halfOpen ends the server's side, and the client hears nothing more", async () => {
  const client = await open();
  client.socket.write("a");
  await vi.waitFor(() => expect(client.heard).toBe("A"), WAIT);
  const serverSide = new Promise((done) => accepted[0]!.once("close", done));
  proxy.halfOpen();
  await serverSide;
  client.socket.write("b");
  await sleep(QUIET_MS);
  expect(client).toMatchObject({ heard: "A", ended: undefined });
  expect(heardByServer).toBe("a");
  expect(proxy.connections()).toBe(1);
});

test("delay holds pieces back and keeps their order", async () => {
  const client = await open();
  proxy.delay(QUIET_MS);
  const started = performance.now();
  client.socket.write("a");
  await sleep(5);
  client.socket.write("b");
  await vi.waitFor(() => expect(client.heard).toBe("AB"), WAIT);
  expect(performance.now() - started).toBeGreaterThan(2 * QUIET_MS - 5);
});

test("refuse turns new connections away and leaves open ones alone", async () => {
  const client = await open();
  client.socket.write("a");
  await vi.waitFor(() => expect(client.heard).toBe("A"), WAIT);
  proxy.refuse();
  const refused = connect(proxy.port, "127.0.0.1");
  const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  expect(error.code).toBe("ECONNRESET");
  client.socket.write("b");
  await vi.waitFor(() => expect(client.heard).toBe("AB"), WAIT);
  proxy.resume();
  await open();
});
