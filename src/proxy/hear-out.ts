import { Socket } from "node:net";

/** How writes fail when the other end has closed. */
const CLOSED = new Set(["ECONNRESET", "EPIPE"]);

/**
 * Lets what the other end has said be read although it has closed: it may have answered before it had the
 * whole request, and a write that fails would end the connection with that unread. What is written after
 * such a failure is thrown away, and the end of the connection is told where it is read.
 *
 * @param onFailure told once
 * @returns ends that
 */
export function hearOut(socket: Socket, onFailure: (error: Error) => void): () => void {
  let hasFailed = false;
  type Done = (error?: Error | null) => void;
  const heard =
    (done: Done): Done =>
    (error) => {
      if (!CLOSED.has((error as NodeJS.ErrnoException | undefined)?.code ?? "")) return done(error);
      hasFailed = true;
      onFailure(error!);
      done();
    };
  socket._write = (piece, encoding, done) => {
    if (hasFailed) done();
    else Socket.prototype._write.call(socket, piece, encoding, heard(done));
  };
  socket._writev = (pieces, done) => {
    if (hasFailed) done();
    else Socket.prototype._writev!.call(socket, pieces, heard(done));
  };
  return () => {
    if (hasFailed) return;
    Reflect.deleteProperty(socket, "_write");
    Reflect.deleteProperty(socket, "_writev");
  };
}
