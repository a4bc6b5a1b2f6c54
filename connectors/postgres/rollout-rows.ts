import type { Move, MoveOutcome, StandingRollout } from "../../src/rollout/rollout-store.ts";
import type { MoveKind, MoveStep } from "../../src/rollout/move.ts";
import type { Hold, Side, Stage } from "../../src/rollout/stage.ts";

export interface StandingRow {
  readonly stream_type: string;
  readonly stage: Stage;
  readonly share: number;
  readonly salt: string;
  readonly epoch: string;
  readonly held_from: number | null;
  readonly held_to: number | null;
  readonly held_reads: Side | null;
  readonly left_ms: number | null;
  readonly paused: boolean;
  readonly changed_at: Date;
}

/** Of the columns of a row of banyan.rollouts. Undefined when nothing is held. */
export function holdOf({
  held_from: from,
  held_to: to,
  held_reads: reads,
  left_ms: leftMs,
}: Pick<StandingRow, "held_from" | "held_to" | "held_reads" | "left_ms">): Hold | undefined {
  if (from === null || to === null || leftMs === null) return undefined;
  return reads === null ? { from, to, leftMs } : { from, to, leftMs, reads };
}

export function standingOf(row: StandingRow): StandingRollout {
  const { stage, share, salt, paused } = row;
  const since = row.changed_at.toISOString();
  const standing = { stage, share, salt, epoch: Number(row.epoch), paused, since };
  const hold = holdOf(row);
  return hold === undefined ? standing : { ...standing, hold };
}

export const MOVE_COLUMNS = `
  id::text, stream_type, kind, from_stage, from_share, to_stage, to_share, step, epoch::text, fence, who, why,
  forced, without::text[], hold_ms, driver::text, started_at, touched_at, ended_at, outcome, reason`;

/** Of {@link MOVE_COLUMNS}. */
export interface MoveRow {
  readonly id: string;
  readonly stream_type: string;
  readonly kind: MoveKind;
  readonly from_stage: Stage;
  readonly from_share: number;
  readonly to_stage: Stage;
  readonly to_share: number;
  readonly step: MoveStep;
  readonly epoch: string;
  readonly fence: string | null;
  readonly who: string;
  readonly why: string;
  readonly forced: readonly string[];
  readonly without: readonly string[];
  readonly hold_ms: number;
  readonly driver: string;
  readonly started_at: Date;
  readonly touched_at: Date;
  readonly ended_at: Date | null;
  readonly outcome: MoveOutcome | null;
  readonly reason: string | null;
}

export function moveOf(row: MoveRow): Move {
  const { id, kind, step, who, why, forced, without, driver } = row;
  return {
    id,
    type: row.stream_type,
    kind,
    from: { stage: row.from_stage, share: row.from_share },
    to: { stage: row.to_stage, share: row.to_share },
    step,
    epoch: Number(row.epoch),
    fence: row.fence ?? undefined,
    who,
    why,
    forced,
    without,
    holdMs: row.hold_ms,
    driver,
    startedAt: row.started_at.toISOString(),
    touchedAt: row.touched_at.toISOString(),
    endedAt: row.ended_at?.toISOString(),
    outcome: row.outcome ?? undefined,
    reason: row.reason ?? undefined,
  };
}
