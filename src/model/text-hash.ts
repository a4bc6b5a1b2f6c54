/**
 * The 64-bit hash that Postgres calls `hashtextextended(text COLLATE "C", 0)`, so that rows can be hashed
 * where they are and compared with what is kept elsewhere: Bob Jenkins' lookup3 over the bytes of UTF-8.
 *
 * Not cryptographic: it has to tell texts apart that differ by accident, one in 2^64 of which it would
 * miss. Results are the two halves, as signed 32-bit numbers.
 *
 * @see https://burtleburtle.net/bob/hash/doobs.html
 */
export class TextHash {
  high = 0;
  low = 0;
  #words = new Int32Array(256);
  #bytes = Buffer.from(this.#words.buffer);

  of(text: string): this {
    // At most three bytes per UTF-16 unit, and the last block is read whole.
    const room = text.length * 3 + 12;
    if (room > this.#bytes.length) {
      this.#words = new Int32Array(2 ** Math.ceil(Math.log2(room / 4)));
      this.#bytes = Buffer.from(this.#words.buffer);
    }
    const length = this.#write(text);
    this.#bytes.fill(0, length, length + 12);
    const words = this.#words;
    let a = (0x9e3779b9 + length + 3923095) | 0;
    let b = a;
    let c = a;
    let at = 0;
    for (let left = length; left >= 12; left -= 12) {
      a = (a + words[at]!) | 0;
      b = (b + words[at + 1]!) | 0;
      c = (c + words[at + 2]!) | 0;
      at += 3;
      a = ((a - c) | 0) ^ ((c << 4) | (c >>> 28));
      c = (c + b) | 0;
      b = ((b - a) | 0) ^ ((a << 6) | (a >>> 26));
      a = (a + c) | 0;
      c = ((c - b) | 0) ^ ((b << 8) | (b >>> 24));
      b = (b + a) | 0;
      a = ((a - c) | 0) ^ ((c << 16) | (c >>> 16));
      c = (c + b) | 0;
      b = ((b - a) | 0) ^ ((a << 19) | (a >>> 13));
      a = (a + c) | 0;
      c = ((c - b) | 0) ^ ((b << 4) | (b >>> 28));
      b = (b + a) | 0;
    }
    a = (a + words[at]!) | 0;
    b = (b + words[at + 1]!) | 0;
    // The lowest byte of c belongs to the length.
    c = (c + (words[at + 2]! << 8)) | 0;
    c = ((c ^ b) - ((b << 14) | (b >>> 18))) | 0;
    a = ((a ^ c) - ((c << 11) | (c >>> 21))) | 0;
    b = ((b ^ a) - ((a << 25) | (a >>> 7))) | 0;
    c = ((c ^ b) - ((b << 16) | (b >>> 16))) | 0;
    a = ((a ^ c) - ((c << 4) | (c >>> 28))) | 0;
    b = ((b ^ a) - ((a << 14) | (a >>> 18))) | 0;
    c = ((c ^ b) - ((b << 24) | (b >>> 8))) | 0;
    this.high = b;
    this.low = c;
    return this;
  }

  /** @returns the number of bytes */
  #write(text: string): number {
    const bytes = this.#bytes;
    // Most text is ASCII and short, for which a call into the runtime takes longer than the copy.
    if (text.length < 256) {
      let i = 0;
      for (; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        if (unit > 0x7f) return bytes.write(text, 0, "utf8");
        bytes[i] = unit;
      }
      return i;
    }
    return bytes.write(text, 0, "utf8");
  }
}

/** The signed 64-bit number of two halves. */
export function joinHalves(high: number, low: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low >>> 0);
}
