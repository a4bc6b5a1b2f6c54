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
const WAIT_MS_MAX = 20_000;

function eventually(holds: () => void): Promise<void> {
  return vi.waitFor(holds, { timeout: WAIT_MS_MAX, interval: 5 });
}

test("bytes pass in both directions and are counted, and an orderly end passes too", async () => {
  const client = await open();
  client.socket.write("abc");
  await eventually(() => expect(client.heard).toBe("ABC"));
  expect(proxy.bytes).toEqual({ up: 3, down: 3 });
  client.socket.end();
  await eventually(() => expect(client.ended).toBe("end"));
  await eventually(() => expect(proxy.connections()).toBe(0));
  expect(accepted[0]!.destroyed).toBe(true);
});

test("a megabyte passes unchanged", async () => {
  const client = await open();
  const text = "abcdefghij".repeat(100_000);
  client.socket.write(text);
  await eventually(() => expect(client.heard.length).toBe(text.length));
  expect(client.heard).toBe(text.toUpperCase());
});

test("cut resets both sides, and new connections work", async () => {
  const client = await open();
  client.socket.write("a");
  await eventually(() => expect(client.heard).toBe("A"));
  const serverSide = new Promise((done) => accepted[0]!.once("close", done));
  proxy.cut();
  await serverSide;
  await eventually(() => expect(client.ended).toBe("ECONNRESET"));
  const again = await open();
  again.socket.write("b");
  await eventually(() => expect(again.heard).toBe("B"));
});

test("cutAfter lets exactly as much through as it may", async () => {
  proxy.cutAfter(2);
  const client = await open();
  // One after the other: what lies unread in a socket is lost with it.
  for (const heard of ["A", "AB"]) {
    client.socket.write(heard.at(-1)!);
    await eventually(() => expect(client.heard).toBe(heard));
  }
  client.socket.write("c");
  await eventually(() => expect(client.ended).toBe("ECONNRESET"));
  expect(client.heard).toBe("AB");
});

test("stall stops one direction or both, and resume loses nothing", async () => {
  const client = await open();
  proxy.stall("down");
  client.socket.write("a");
  await eventually(() => expect(heardByServer).toBe("a"));
  await sleep(QUIET_MS);
  expect(client.heard).toBe("");
  proxy.resume();
  await eventually(() => expect(client.heard).toBe("A"));
  proxy.stall();
  client.socket.write("b");
  const later = await open();
  later.socket.write("x");
  await sleep(QUIET_MS);
  expect(heardByServer).toBe("a");
  proxy.resume();
  await eventually(() => expect([client.heard, later.heard]).toEqual(["AB", "X"]));
});

test("halfOpen ends the server's side, and the client hears nothing more", async () => {
  const client = await open();
  client.socket.write("a");
  await eventually(() => expect(client.heard).toBe("A"));
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
  await eventually(() => expect(client.heard).toBe("AB"));
  expect(performance.now() - started).toBeGreaterThan(2 * QUIET_MS - 5);
});

test("refuse turns new connections away and leaves open ones alone", async () => {
  const client = await open();
  client.socket.write("a");
  await eventually(() => expect(client.heard).toBe("A"));
  proxy.refuse();
  const refused = connect(proxy.port, "127.0.0.1");
  const [error] = (await once(refused, "error")) as [NodeJS.ErrnoException];
  expect(error.code).toBe("ECONNRESET");
  client.socket.write("b");
  await eventually(() => expect(client.heard).toBe("AB"));
  proxy.resume();
  await open();
});
