import type { Socket } from "node:net";
import { ClientFault } from "./client-fault.ts";
import { hearOut } from "./hear-out.ts";
import type { RequestBody } from "./request-body.ts";
import type { RequestFraming } from "./upstream-request.ts";

export interface BodySending {
  readonly socket: Socket;
  readonly body: RequestBody;
  readonly framing: RequestFraming;
  /** More of it goes out once the upstream has taken what it got, or the client has sent more. */
  readonly onWait: (whom: "upstream" | "client") => void;
  /** The upstream takes no more of it; it may have answered. */
  readonly onFailure: (error: Error) => void;
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
  const { socket, body, framing, onWait, onFailure, onSent, onBroken } = sending;
  let bytes = 0;
  let hasFailed = false;
  let stopHearing: (() => void) | undefined;
  const onFailed = (error: Error): void => {
    hasFailed = true;
    body.pause();
    onFailure(error);
    onWait("upstream");
  };
  const onData = (piece: Buffer): void => {
    // Most bodies come in one piece.
    if (bytes > 0) stopHearing ??= hearOut(socket, onFailed);
    bytes += piece.length;
    if (typeof framing === "number" && bytes > framing) return onBroken(lengthFault());
    if (write(socket, piece, framing)) return;
    body.pause();
    onWait("upstream");
    socket.once("drain", onDrain);
  };
  const onDrain = (): void => {
    if (hasFailed) return;
    onWait("client");
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
    stopHearing?.();
  };
  body.on("data", onData).on("end", onEnd).on("error", onError);
  return () => {
    release();
    body.destroy();
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
