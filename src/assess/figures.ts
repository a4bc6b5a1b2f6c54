import type { Sum } from "./assessment.ts";

/** 1,234,567 rows and more are told in a way that one can keep: `1.2 million`. */
export function amount(value: number): string {
  if (value >= 1e9) return `${trim(value / 1e9)} billion`;
  if (value >= 1e6) return `${trim(value / 1e6)} million`;
  return Math.round(value).toLocaleString("en-US");
}

/** A rate is an average or an extrapolation: two digits of it are what is known. */
export function rate(perDay: number): string {
  if (perDay > 0 && perDay < 1) return "under 1";
  if (perDay < 100) return amount(perDay);
  const unit = 10 ** (Math.floor(Math.log10(perDay)) - 1);
  return amount(Math.round(perDay / unit) * unit);
}

export function byteAmount(value: number): string {
  const units = ["B", "KB", "MB", "GB", "TB", "PB"];
  let scaled = value;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? Math.round(scaled) : trim(scaled)} ${units[unit]}`;
}

export function duration(seconds: number): string {
  if (seconds < 1) return "under a second";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${trim(seconds / 3600)} h`;
  return `${trim(seconds / 86_400)} days`;
}

/** A sum of which something is not known is `at least …`, or not known at all when nothing of it is. */
export function known({ value, atLeast }: Sum, format: (value: number) => string): string {
  if (!atLeast) return format(value);
  return value === 0 ? "unknown" : `at least ${format(value)}`;
}

function trim(value: number): string {
  return value >= 100
    ? Math.round(value).toLocaleString("en-US")
    : value.toFixed(1).replace(/\.0$/, "");
}
