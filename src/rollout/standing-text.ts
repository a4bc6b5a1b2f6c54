import { BUCKETS } from "./bucket.ts";
import type { Standing } from "./move.ts";

/** `shadow`, or with a share `canary 10%`. */
export function describeStanding({ stage, share }: Standing): string {
  return stage === "canary" ? `canary ${percentOf(share)}` : stage;
}

/** 100 buckets are `1%`. */
export function percentOf(share: number): string {
  return `${(share * 100) / BUCKETS}%`;
}

/** Buckets of a text as `10%` or `0.5%`; undefined when it is none, or not a whole number of buckets. */
export function shareOf(text: string): number | undefined {
  const match = /^(\d{1,3}(?:\.\d{1,2})?)%$/.exec(text);
  if (match === null) return undefined;
  const share = Math.round((Number(match[1]) * BUCKETS) / 100);
  return share >= 1 && share <= BUCKETS ? share : undefined;
}
