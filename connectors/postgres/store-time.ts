/** Seconds from 1970-01-01 to 2000-01-01, where Postgres counts from. */
const EPOCH_2000_SECONDS = 946_684_800;
const MICROS_PER_SECOND = 1_000_000n;

let lastSecond: number | undefined;
let lastText = "";

/**
 * A timestamptz in binary as ISO 8601 with microseconds, UTC: `2026-01-31T10:00:00.123456Z`; years
 * beyond 9999 in the long form `+010000-…`.
 *
 * @param high @param low the two halves of microseconds since 2000, the lower one unsigned
 */
export function isoTimestamp(high: number, low: number): string {
  let seconds: number;
  let micros: number;
  // Within 2^53 microseconds of 2000, that is from 1715 to 2285, a double is exact.
  if (high > -0x20_0000 && high < 0x20_0000) {
    const us = high * 0x1_0000_0000 + low;
    seconds = Math.floor(us / 1_000_000);
    micros = us - seconds * 1_000_000;
  } else {
    const us = (BigInt(high) << 32n) | BigInt(low);
    const rest = ((us % MICROS_PER_SECOND) + MICROS_PER_SECOND) % MICROS_PER_SECOND;
    seconds = Number((us - rest) / MICROS_PER_SECOND);
    micros = Number(rest);
  }
  // Neighbouring events often share their second, and making a date's text is the dear part.
  if (seconds !== lastSecond) {
    lastText = new Date((seconds + EPOCH_2000_SECONDS) * 1000).toISOString().slice(0, -4);
    lastSecond = seconds;
  }
  return `${lastText}${String(micros).padStart(6, "0")}Z`;
}
