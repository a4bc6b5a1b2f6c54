import type { ServerResponse } from "node:http";
import { SILENCE_MS_MAX } from "./request-body.ts";

/** A body that a route looks into for the id of its aggregate. */
const LOOKED_INTO_BYTES_MAX = 1_048_576;
/** Of all such bodies together. */
const HELD_BYTES_MAX = 268_435_456;

export interface HeldBody {
  readonly read: Buffer;
  /** Whether that is all of it. */
  readonly isWhole: boolean;
}

/** Why there is no body: the client is silent or gone, or too many bytes are held for others. */
export type NotHeld = "slow-request" | "gone" | "upstream-busy";

/** The bodies that are in memory because a route looks into them, from their first byte to the answer's end. */
export class HeldBodies {
  readonly #bytesMax: number;
  #bytes = 0;

  /** @param bytesMax for tests */
  constructor(bytesMax = HELD_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** Reads a body: whole, or a little more of it than a route looks into. */
  async read(response: ServerResponse): Promise<HeldBody | NotHeld> {
    const request = response.req;
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.once("close", () => (this.#bytes -= bytes));
    return await new Promise((done) => {
      const timer = setTimeout(() => settle("slow-request"), SILENCE_MS_MAX).unref();
      const settle = (outcome: HeldBody | NotHeld): void => {
        clearTimeout(timer);
        request.off("data", take).off("end", end).off("close", close);
        done(outcome);
      };
      const take = (chunk: Buffer): void => {
        if (this.#bytes + chunk.length > this.#bytesMax) return settle("upstream-busy");
        chunks.push(chunk);
        bytes += chunk.length;
        this.#bytes += chunk.length;
        timer.refresh();
        if (bytes <= LOOKED_INTO_BYTES_MAX) return;
        request.pause();
        settle({ read: Buffer.concat(chunks), isWhole: false });
      };
      const end = (): void => settle({ read: Buffer.concat(chunks), isWhole: true });
      const close = (): void => settle("gone");
      request.on("data", take).on("end", end).on("close", close);
    });
  }
}
