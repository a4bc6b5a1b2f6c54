import type { Cells } from "../model/table.ts";

/**
 * 64-bit digest of text, as two 32-bit numbers. Not cryptographic: it has to tell rows apart that
 * differ by accident, one in 2^64 of which it would miss.
 */
export class Digest {
  high = 0;
  low = 0;

  reset(): this {
    this.high = 0xdeadbeef | 0;
    this.low = 0x41c6ce57 | 0;
    return this;
  }

  text(text: string): this {
    let { high, low } = this;
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      high = Math.imul(high ^ c, 0x9e3779b1);
      low = Math.imul(low ^ c, 0x5f356495);
    }
    this.high = high;
    this.low = low;
    return this.number(text.length);
  }

  number(value: number): this {
    this.high = Math.imul(this.high ^ value, 0x85ebca77);
    this.low = Math.imul((this.low << 13) ^ (this.low >>> 19) ^ value, 0xc2b2ae3d);
    return this;
  }

  /** Null is told apart from every text; so is the place of a column. */
  cells(cells: Cells): this {
    for (const cell of cells) {
      if (cell === null || cell === undefined) this.number(-1);
      else this.text(cell);
    }
    return this;
  }

  /** Mixes the two halves, so that every bit depends on every input. */
  end(): this {
    let { high, low } = this;
    high = Math.imul(high ^ (high >>> 16), 0x85ebca6b) ^ Math.imul(low ^ (low >>> 13), 0xc2b2ae35);
    low = Math.imul(low ^ (low >>> 16), 0x85ebca6b) ^ Math.imul(high ^ (high >>> 13), 0xc2b2ae35);
    this.high = high ^ (high >>> 16);
    this.low = low ^ (low >>> 16);
    return this;
  }
}
