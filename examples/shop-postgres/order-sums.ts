import { Refusal } from "./order-desk.ts";

/** What a line contributes to the total. */
export interface PricedLine {
  readonly quantity: number;
  readonly unit_price: string;
  readonly discount: string | null;
}

const MICROS_PER_CENT = 10_000n;
/** numeric(12,2) ends here. */
const CENTS_MAX = 10n ** 12n;

/**
 * The total of an order as `round(sum(quantity * unit_price * (1 - discount)), 2)` gives it: exact, and
 * rounded once, half up.
 *
 * @param isCutOff the bug: digits behind the cents are cut off instead
 */
export function totalOf(lines: readonly PricedLine[], isCutOff: boolean): string {
  let micros = 0n;
  for (const { quantity, unit_price, discount } of lines) {
    micros +=
      BigInt(quantity) * scaled(unit_price, 2) * (MICROS_PER_CENT - scaled(discount ?? "0", 4));
  }
  const cents = (micros + (isCutOff ? 0n : MICROS_PER_CENT / 2n)) / MICROS_PER_CENT;
  if (cents >= CENTS_MAX) throw new Refusal(409, "numeric field overflow");
  const digits = String(cents).padStart(3, "0");
  return `${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

/** A decimal number without its point. */
function scaled(text: string, digits: number): bigint {
  const [whole, fraction = ""] = text.split(".");
  return BigInt(`${whole}${fraction.padEnd(digits, "0")}`);
}

/** Time between two of ISO 8601 to the millisecond, as Postgres writes an interval. */
export function transitOf(from: string, to: string): string {
  const ms = Math.floor((micros(to) - micros(from)) / 1_000);
  const days = Math.floor(ms / 86_400_000);
  const two = (n: number): string => String(n).padStart(2, "0");
  const hours = Math.floor(ms / 3_600_000) % 24;
  const fraction = String(ms % 1_000)
    .padStart(3, "0")
    .replace(/0+$/, "");
  const clock = `${two(hours)}:${two(Math.floor(ms / 60_000) % 60)}:${two(Math.floor(ms / 1_000) % 60)}`;
  const time = fraction === "" ? clock : `${clock}.${fraction}`;
  if (days === 0) return time;
  const word = days === 1 ? "1 day" : `${days} days`;
  return time === "00:00:00" ? word : `${word} ${time}`;
}

function micros(time: string): number {
  const below = /\.\d{3}(\d{1,3})/.exec(time)?.[1] ?? "";
  return Date.parse(time) * 1_000 + Number(below.padEnd(3, "0"));
}
