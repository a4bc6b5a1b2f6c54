/**
 * Compares dates with dates, or timestamps with timestamps, as Postgres orders them. Both are canonical
 * texts of one type, written with DateStyle ISO and in one time zone: `2024-02-29`,
 * `0044-03-15 12:00:00.5+00 BC`, `12024-01-01 00:00:00`, `-infinity`.
 *
 * @returns below, above or exactly 0; 0 only for equal texts
 */
export function compareTimestamps(x: string, y: string): number {
  if (x === y) return 0;
  const era = eraOf(x);
  const apart = era - eraOf(y);
  if (apart !== 0) return apart;
  const [xDash, yDash] = [x.indexOf("-"), y.indexOf("-")];
  const years = Number(x.slice(0, xDash)) - Number(y.slice(0, yDash));
  // Years before Christ are counted backwards, the months and days in them are not.
  if (years !== 0) return era === BEFORE_CHRIST ? -years : years;
  // Of fixed width up to the fraction; the `+`, the blank or the end behind whole seconds sorts below its point.
  return x.slice(xDash) < y.slice(yDash) ? -1 : 1;
}

const BEFORE_CHRIST = 1;

function eraOf(text: string): number {
  if (text === "-infinity") return 0;
  if (text === "infinity") return 3;
  return text.endsWith(" BC") ? BEFORE_CHRIST : 2;
}
