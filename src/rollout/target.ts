import { BUCKETS } from "./bucket.ts";
import { movedBuckets, type Standing } from "./move.ts";
import { STAGES } from "./stage.ts";
import { describeStanding, percentOf, shareOf } from "./standing-text.ts";
import { BanyanError } from "../model/errors.ts";

const LEGACY: Standing = { stage: "legacy", share: 0 };
const SHADOW: Standing = { stage: "shadow", share: 0 };
const NEW: Standing = { stage: "new", share: BUCKETS };

/**
 * Where a promotion leads.
 *
 * @param wanted `shadow`, `10%` or `new`; the next of `shares` when undefined
 * @param shares in buckets, rising
 * @throws BanyanError `USAGE`
 */
export function promotionOf(
  type: string,
  from: Standing,
  wanted: string | undefined,
  shares: readonly number[],
): Standing {
  const to = wanted === undefined ? nextOf(from, shares) : parse(wanted);
  const refuse = (why: string, hint: string): never => {
    throw usage(`${type} stands at ${describeStanding(from)}: ${why}`, hint);
  };
  if (from.stage === "complete") refuse("it is complete, and nothing is left to do", "");
  if (from.stage === "new" && (wanted === undefined || to.stage === "complete"))
    refuse("what is left is to complete it", `banyan rollout complete ${type}`);
  if (orderOf(to) <= orderOf(from))
    refuse(
      `${describeStanding(to)} is not ahead of it`,
      `The way back is: banyan rollout rollback ${type}`,
    );
  if (to.stage === "complete")
    refuse("it is not at new yet", `banyan rollout promote ${type} --to new`);
  if (from.stage === "legacy" && to.stage !== "shadow")
    refuse(
      "no aggregate moves before the new service has run in shadow",
      `banyan rollout promote ${type} --to shadow`,
    );
  return to;
}

/**
 * Where a rollback leads.
 *
 * @param wanted `legacy`, `shadow` or a lower share; undefined: shadow, and from there legacy
 * @throws BanyanError `USAGE`
 */
export function rollbackOf(type: string, from: Standing, wanted: string | undefined): Standing {
  const natural = from.stage === "shadow" ? LEGACY : SHADOW;
  const to = wanted === undefined ? natural : parse(wanted);
  if (from.stage === "complete")
    throw usage(
      `${type} is complete: there is no way back`,
      "Reverse sync has ended; a way back would lose what the new service decided since.",
    );
  if (orderOf(to) >= orderOf(from))
    throw usage(
      `${type} stands at ${describeStanding(from)}: ${describeStanding(to)} is not behind it`,
      `The way on is: banyan rollout promote ${type}`,
    );
  return to;
}

/** @throws BanyanError `USAGE` */
export function completionOf(type: string, from: Standing): Standing {
  if (from.stage === "new") return { stage: "complete", share: BUCKETS };
  const next =
    from.stage === "complete" ? "nothing is left to do" : `banyan rollout promote ${type} --to new`;
  throw usage(`${type} stands at ${describeStanding(from)}, and only new can be completed`, next);
}

function nextOf(from: Standing, shares: readonly number[]): Standing {
  if (from.stage === "legacy") return SHADOW;
  if (from.stage === "new" || from.stage === "complete")
    return { stage: "complete", share: BUCKETS };
  const share = shares.find((candidate) => candidate > movedBuckets(from));
  return share === undefined || share >= BUCKETS ? NEW : { stage: "canary", share };
}

function parse(wanted: string): Standing {
  if (wanted === "legacy") return LEGACY;
  if (wanted === "shadow") return SHADOW;
  if (wanted === "new") return NEW;
  if (wanted === "complete") return { stage: "complete", share: BUCKETS };
  const share = shareOf(wanted);
  if (share === undefined)
    throw usage(
      `--to ${wanted} is no stage and no share`,
      `Give legacy, shadow, new, or a share from ${percentOf(1)} to 100%, as 10%.`,
    );
  return share === BUCKETS ? NEW : { stage: "canary", share };
}

function orderOf({ stage, share }: Standing): number {
  return STAGES.indexOf(stage) * (BUCKETS + 1) + (stage === "canary" ? share : 0);
}

function usage(message: string, hint: string): BanyanError {
  return new BanyanError("USAGE", message, hint === "" ? {} : { hint });
}
