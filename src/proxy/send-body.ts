import type { Socket } from "node:net";
import { ClientFault } from "./client-fault.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestFraming } from "./upstream-request.ts";

export interface BodySending {
  readonly socket: Socket;
  readonly body: RequestBody;
  readonly framing: RequestFraming;
  /** Something of it went out. */
  readonly onMove: () => void;
  readonly onSent: () => void;
  /** It will never be whole. */
  readonly onBroken: (error: Error) => void;
}

/**
 * Sends a body as it comes in, as fast as the upstream takes it.
 *
 * @returns ends that: what has not been sent is thrown away
 */
export function sendBody(sending: BodySending): () => void {
  const { socket, body, framing, onMove, onSent, onBroken } = sending;
  let bytes = 0;
  const onData = (piece: Buffer): void => {
    bytes += piece.length;
    if (typeof framing === "number" && bytes > framing) return onBroken(lengthFault());
    onMove();
    if (write(socket, piece, framing)) return;
    body.pause();
    socket.once("drain", onDrain);
  };
  const onDrain = (): void => {
    onMove();
    body.resume();
  };
  const onEnd = (): void => {
    if (typeof framing === "number" && bytes < framing) return onBroken(lengthFault());
    if (framing === "chunked") socket.write("0\r\n\r\n", "latin1");
    release();
    onSent();
  };
  const onError = (error: Error): void => onBroken(error);
  const release = (): void => {
    body.off("data", onData).off("end", onEnd).off("error", onError);
    socket.off("drain", onDrain);
  };
  body.on("data", onData).on("end", onEnd).on("error", onError);
  return () => {
    release();
    body.on("error", () => undefined).destroy();
  };
}

function write(socket: Socket, piece: Buffer, framing: RequestFraming): boolean {
  if (framing !== "chunked") return socket.write(piece);
  socket.cork();
  socket.write(`${piece.length.toString(16)}\r\n`, "latin1");
  socket.write(piece);
  const takesMore = socket.write("\r\n", "latin1");
  socket.uncork();
  return takesMore;
}

function lengthFault(): Error {
  return new ClientFault("the body is not as long as it says");
}
