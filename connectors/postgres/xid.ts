import { invariant } from "../../src/model/errors.ts";

const TWO_32 = 4_294_967_296;

/**
 * Makes 64-bit transaction ids of the 32 bits in the log.
 *
 * Two ids in use at one time are less than 2^31 apart (the server stops before they are not), so the
 * id nearest to a known one is the right one. Each id told becomes the known one for the next.
 */
export class XidEpoch {
  #near: number;

  /** @param reference a recent 64-bit id in decimal, e.g. of `pg_snapshot_xmax(pg_current_snapshot())` */
  constructor(reference: string) {
    this.#near = Number(reference);
    invariant(Number.isSafeInteger(this.#near), `not a transaction id: "${reference}"`);
  }

  /** @returns the 64-bit id in decimal */
  extend(xid: number): string {
    const distance = (xid - (this.#near % TWO_32)) | 0;
    // Below zero only when a damaged log names an id of before the first epoch.
    this.#near = Math.max(xid, this.#near + distance);
    return String(this.#near);
  }
}
