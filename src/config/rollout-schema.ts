import { z } from "zod";
import type { RolloutSettings } from "../rollout/settings.ts";

const rate = z.number().min(0).max(1);

/** The shape of `rollout` in a config. */
export const rolloutSchema = z
  .strictObject({
    holdSeconds: z.int().min(1).max(60).default(5),
    shares: z
      .array(z.number().min(0.01).max(99.99))
      .max(100)
      .refine((shares) => shares.every((share, n) => n === 0 || share > shares[n - 1]!), {
        error: "must rise",
      })
      .default([1, 10, 50]),
    gates: z
      .strictObject({
        parityMinutesMax: z.int().min(1).max(1_440).default(10),
        dualSamplesMin: z.int().min(1).max(1_000_000).default(100),
        dualFailuresMax: z.int().min(0).max(1_000_000).default(0),
        shadowSamplesMin: z.int().min(1).max(1_000_000).default(100),
        shadowMatchMin: rate.default(0.999),
        trafficSamplesMin: z.int().min(1).max(1_000_000).default(200),
        errorRateMax: rate.default(0.01),
        latencyMsMax: z.int().min(1).max(60_000).default(200),
        lagSecondsMax: z.int().min(1).max(3_600).default(30),
        hoursMax: z.int().min(1).max(8_760).default(24),
      })
      .prefault({}),
    alarms: z
      .strictObject({
        windowSeconds: z.int().min(5).max(3_600).default(60),
        samplesMin: z.int().min(1).max(1_000_000).default(200),
        errorRateMax: rate.default(0.01),
        latencyMsMax: z.int().min(1).max(60_000).default(500),
        dualFailureRateMax: rate.default(0.01),
        differentRateMax: rate.default(0.01),
      })
      .prefault({}),
  })
  .prefault({}) satisfies z.ZodType<RolloutSettings>;
