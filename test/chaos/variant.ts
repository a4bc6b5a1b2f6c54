import { randomFrom } from "../../examples/shop-postgres/traffic.ts";
import { oneOf } from "./random.ts";

/** How the capture of a round is configured, and when its faults begin. */
export interface Variant {
  /** The baseline is read under one snapshot, or in chunks so small that there are many. */
  readonly baseline: "snapshot" | "chunked";
  /** Tables that join in the middle of the round. */
  readonly joining: readonly string[];
  /** Some faults are due before the baseline is done; all others wait for that. */
  readonly isBaselineDisturbed: boolean;
}

const JOINING = [[], ["payments"], ["customers"], ["customers", "shipments"]] as const;
/** Other numbers than the plan's. */
const SALT = 0x5eed;

export function variantOf(seed: number): Variant {
  const random = randomFrom(seed + SALT);
  return {
    baseline: oneOf(random, ["snapshot", "chunked"] as const),
    joining: oneOf(random, JOINING),
    isBaselineDisturbed: random() < 0.5,
  };
}

export function describeVariant({ baseline, joining, isBaselineDisturbed }: Variant): string {
  const parts = [
    baseline === "chunked" ? "the baseline in chunks" : "the baseline under one snapshot",
    isBaselineDisturbed ? "which faults disturb" : "in peace",
    joining.length === 0 ? "no table joins" : `later joined by ${joining.join(" and ")}`,
  ];
  return parts.join(", ");
}
