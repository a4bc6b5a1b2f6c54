import { randomBytes } from "node:crypto";

/** A slot is 16 bytes; a table starts with this many. A power of two. */
const SLOTS_MIN = 1_024;
/** Share of slots in use at which a table is doubled: beyond it, searches become long. */
const FULL = 0.7;

/**
 * Versions by stream, in 23 to 46 bytes a stream beyond the first few hundred, and none of them on the
 * garbage collector's path, as the strings and entries of a Map would be.
 *
 * A stream is known by 96 bits of a hash whose seed is new in each process. That two of a million
 * share them has a chance of one in 10^16; it would leave a gap in a stream, or be refused by the store.
 */
export class VersionTable {
  /** Streams held. */
  size = 0;
  #slots = SLOTS_MIN;
  #first = new Int32Array(SLOTS_MIN);
  #second = new Int32Array(SLOTS_MIN);
  #third = new Int32Array(SLOTS_MIN);
  /** 0 where the slot is free. */
  #versions = new Int32Array(SLOTS_MIN);

  /** The version set last; undefined for a stream not held. */
  get(stream: string): number | undefined {
    const version = this.#versions[this.#locate(stream)]!;
    return version === 0 ? undefined : version;
  }

  /** @param version not 0 */
  set(stream: string, version: number): void {
    this.setAt(this.slotOf(stream), version);
  }

  /** Sets the version of a stream that is not held. */
  setNew(stream: string, version: number): void {
    const slot = this.slotOf(stream);
    if (this.#versions[slot] === 0) this.setAt(slot, version);
  }

  /**
   * Where the stream stands, a new one with version 0: until {@link setAt} gives it another, it is not
   * held, and no other stream may be asked for. Valid until streams are added beyond what was reserved.
   */
  slotOf(stream: string): number {
    this.reserve(1);
    const slot = this.#locate(stream);
    if (this.#versions[slot] === 0) {
      this.#first[slot] = hash.first;
      this.#second[slot] = hash.second;
      this.#third[slot] = hash.third;
    }
    return slot;
  }

  versionAt(slot: number): number {
    return this.#versions[slot]!;
  }

  /** @param version not 0 */
  setAt(slot: number, version: number): void {
    if (this.#versions[slot] === 0) this.size += 1;
    this.#versions[slot] = version;
  }

  /** Makes room for so many more streams, so that slots keep their meaning until they are there. */
  reserve(streams: number): void {
    while (this.size + streams > FULL * this.#slots) this.#grow();
  }

  /** Forgets all, and keeps the room. */
  clear(): void {
    this.#versions.fill(0);
    this.size = 0;
  }

  /** The stream's slot, or the free one where it would go. Leaves its hash in `hash`. */
  #locate(stream: string): number {
    hashStream(stream);
    const { first, second, third } = hash;
    const mask = this.#slots - 1;
    let slot = first & mask;
    while (
      this.#versions[slot] !== 0 &&
      (this.#first[slot] !== first || this.#second[slot] !== second || this.#third[slot] !== third)
    )
      slot = (slot + 1) & mask;
    return slot;
  }

  #grow(): void {
    const [first, second, third, versions] = [
      this.#first,
      this.#second,
      this.#third,
      this.#versions,
    ];
    this.#slots *= 2;
    this.#first = new Int32Array(this.#slots);
    this.#second = new Int32Array(this.#slots);
    this.#third = new Int32Array(this.#slots);
    this.#versions = new Int32Array(this.#slots);
    const mask = this.#slots - 1;
    for (let from = 0; from < versions.length; from++) {
      if (versions[from] === 0) continue;
      let to = first[from]! & mask;
      while (this.#versions[to] !== 0) to = (to + 1) & mask;
      this.#first[to] = first[from]!;
      this.#second[to] = second[from]!;
      this.#third[to] = third[from]!;
      this.#versions[to] = versions[from]!;
    }
  }
}

const SEEDS = new Int32Array(Uint8Array.from(randomBytes(12)).buffer);
/** Of the stream hashed last. One object for all, so that a lookup makes none. */
const hash = { first: 0, second: 0, third: 0 };

/** Three lanes of multiply and rotate over UTF-16 units; the rotation lets high bits reach low ones. */
function hashStream(stream: string): void {
  let a = SEEDS[0]!;
  let b = SEEDS[1]!;
  let c = SEEDS[2]!;
  for (let i = 0; i < stream.length; i++) {
    const unit = stream.charCodeAt(i);
    a = Math.imul(a ^ unit, 0x9e3779b1);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b ^ unit, 0x85ebca77);
    b = (b << 17) | (b >>> 15);
    c = Math.imul(c ^ unit, 0xc2b2ae3d);
    c = (c << 11) | (c >>> 21);
  }
  hash.first = mixed(a ^ stream.length);
  hash.second = mixed(b);
  hash.third = mixed(c);
}

/** Every bit of the lane reaches every bit of the result, which is one to one. */
function mixed(lane: number): number {
  let bits = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35);
  return bits ^ (bits >>> 16);
}
