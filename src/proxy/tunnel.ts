import { ServerResponse, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { handle, type Handling } from "./handle.ts";
import { endLingering } from "./linger.ts";

/**
 * A request to change the protocol. A WebSocket becomes a tunnel to the side that its request belongs to; it
 * is never mirrored. Any other protocol is passed over, as RFC 9110 allows: with HTTP/2 behind it, requests
 * would go by that were never routed.
 */
export function handleUpgrade(
  handling: Handling,
  request: IncomingMessage,
  client: Duplex,
  early: Buffer,
): void {
  client.on("error", () => client.destroy());
  const response = new ServerResponse(request);
  // The parser has let go of the connection: this is its last request.
  response.shouldKeepAlive = false;
  response.assignSocket(client as Parameters<ServerResponse["assignSocket"]>[0]);
  response.once("finish", () => endLingering(client));
  client.once("close", () => response.destroy());
  const isWebSocket = request.headers.upgrade?.toLowerCase() === "websocket";
  const wish = {
    upgrade: "websocket",
    onTunnel: (headers: readonly string[], upstream: Duplex): void => {
      response.detachSocket(client as Parameters<ServerResponse["detachSocket"]>[0]);
      client.write(headOf(headers));
      if (early.length > 0) upstream.write(early);
      connect(client, upstream, () => response.emit("close"));
    },
  };
  handle(handling, request, response, isWebSocket ? wish : {});
}

function headOf(headers: readonly string[]): string {
  const lines = ["HTTP/1.1 101 Switching Protocols", "connection: upgrade", "upgrade: websocket"];
  for (let i = 0; i < headers.length; i += 2) lines.push(`${headers[i]}: ${headers[i + 1]}`);
  return `${lines.join("\r\n")}\r\n\r\n`;
}

/** Each end's close closes the other. */
function connect(client: Duplex, upstream: Duplex, onClose: () => void): void {
  const close = (): void => {
    client.destroy();
    upstream.destroy();
  };
  client.once("close", onClose);
  for (const end of [client, upstream]) end.on("error", close).on("close", close);
  client.pipe(upstream).pipe(client);
}
