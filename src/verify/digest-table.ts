/** On which sides a row was seen, and whether what was seen agrees. */
export type RowVerdict = "equal" | "missing" | "extra" | "different";

const ROW = 1;
const FOLD = 2;
const LOAD_MAX = 0.6;
/** An estimate may be far too high; from here on the table grows with what really comes. */
const CAPACITY_FIRST_MAX = 2 ** 22;

/**
 * Compares two sets of rows that arrive in any order, in 17 bytes per row: rows add their digest under
 * their identity, folds subtract theirs, and what is not zero in the end differs.
 */
export class DigestTable {
  #capacity: number;
  #size = 0;
  /** Pairs: identity high and low. Both zero means free. */
  #keys: Int32Array;
  #sums: Int32Array;
  #sides: Uint8Array;

  constructor(rowsExpected: number) {
    const wanted = Math.min(CAPACITY_FIRST_MAX, Math.max(1024, rowsExpected / LOAD_MAX));
    this.#capacity = 2 ** Math.ceil(Math.log2(wanted));
    this.#keys = new Int32Array(this.#capacity * 2);
    this.#sums = new Int32Array(this.#capacity * 2);
    this.#sides = new Uint8Array(this.#capacity);
  }

  get size(): number {
    return this.#size;
  }

  addRow(keyHigh: number, keyLow: number, high: number, low: number): void {
    this.#add(keyHigh, keyLow, high, low, ROW);
  }

  addFold(keyHigh: number, keyLow: number, high: number, low: number): void {
    this.#add(keyHigh, keyLow, -high, -low, FOLD);
  }

  verdict(keyHigh: number, keyLow: number): RowVerdict | undefined {
    const slot = this.#find(keyHigh, keyLow);
    return this.#sides[slot] === 0 ? undefined : this.#verdictAt(slot);
  }

  counts(): Record<RowVerdict, number> {
    const counts = { equal: 0, missing: 0, extra: 0, different: 0 };
    for (let slot = 0; slot < this.#capacity; slot++) {
      if (this.#sides[slot] !== 0) counts[this.#verdictAt(slot)] += 1;
    }
    return counts;
  }

  #verdictAt(slot: number): RowVerdict {
    const side = this.#sides[slot]!;
    if (side === ROW) return "missing";
    if (side === FOLD) return "extra";
    return this.#sums[slot * 2] === 0 && this.#sums[slot * 2 + 1] === 0 ? "equal" : "different";
  }

  #add(keyHigh: number, keyLow: number, high: number, low: number, side: number): void {
    if (this.#size >= this.#capacity * LOAD_MAX) this.#grow();
    const slot = this.#find(keyHigh, keyLow);
    if (this.#sides[slot] === 0) {
      this.#keys[slot * 2] = keyHigh;
      this.#keys[slot * 2 + 1] = keyLow;
      this.#size += 1;
    }
    // Int32Array wraps, so that adding and subtracting the same digest in any order gives zero.
    this.#sums[slot * 2]! += high;
    this.#sums[slot * 2 + 1]! += low;
    this.#sides[slot]! |= side;
  }

  #find(keyHigh: number, keyLow: number): number {
    const mask = this.#capacity - 1;
    let slot = (keyHigh ^ (keyLow << 7)) & mask;
    while (
      this.#sides[slot] !== 0 &&
      (this.#keys[slot * 2] !== keyHigh || this.#keys[slot * 2 + 1] !== keyLow)
    ) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  #grow(): void {
    const [keys, sums, sides, capacity] = [this.#keys, this.#sums, this.#sides, this.#capacity];
    this.#capacity = capacity * 2;
    this.#keys = new Int32Array(this.#capacity * 2);
    this.#sums = new Int32Array(this.#capacity * 2);
    this.#sides = new Uint8Array(this.#capacity);
    for (let old = 0; old < capacity; old++) {
      if (sides[old] === 0) continue;
      const slot = this.#find(keys[old * 2]!, keys[old * 2 + 1]!);
      this.#keys[slot * 2] = keys[old * 2]!;
      this.#keys[slot * 2 + 1] = keys[old * 2 + 1]!;
      this.#sums[slot * 2] = sums[old * 2]!;
      this.#sums[slot * 2 + 1] = sums[old * 2 + 1]!;
      this.#sides[slot] = sides[old]!;
    }
  }
}
