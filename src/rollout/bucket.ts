import { TextHash } from "../model/text-hash.ts";

/** A share is given in these: 1 is a hundredth of a percent. */
export const BUCKETS = 10_000;

const hash = new TextHash();

/**
 * The bucket of an aggregate, 0 to 9,999. An aggregate has moved when its bucket is below the share, so
 * raising the share never moves one back. The same in SQL, with `h` for
 * `hashtextextended(salt || ':' || id COLLATE "C", 0)`: `((h & 4294967295) * 10000) >> 32`.
 */
export function bucketOf(id: string, salt: string): number {
  const low = hash.of(`${salt}:${id}`).low >>> 0;
  return Math.floor((low * BUCKETS) / 2 ** 32);
}
