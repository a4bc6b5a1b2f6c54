import type { OpenedMoves } from "./wire.ts";
import { describeUnacknowledged, silent } from "../rollout/acknowledged.ts";
import { gatesOf, judgeGates, type GateAnswer } from "../rollout/gates.ts";
import type { MoveKind, Standing } from "../rollout/move.ts";
import type { GateSettings } from "../rollout/settings.ts";

/** How far back a gate counts requests. */
const TRAFFIC_SECONDS = 3_600;

export interface GatedMove {
  readonly type: string;
  readonly kind: MoveKind;
  readonly from: Standing;
  readonly to: Standing;
  /** Gates that are passed over. */
  readonly force: readonly string[];
  /** Instances of proxies that are not waited for. */
  readonly withoutProxy: readonly string[];
}

/** What the gates of a move say now. */
export async function askGates(
  { store, facts }: OpenedMoves,
  settings: GateSettings,
  { type, kind, from, to, force, withoutProxy }: GatedMove,
): Promise<readonly GateAnswer[]> {
  const wanted = gatesOf(kind, from, to);
  if (wanted.length === 0) return [];
  const answers = judgeGates(wanted, await facts.read(type, TRAFFIC_SECONDS), settings, force);
  if (!wanted.includes("proxies")) return answers;
  const missing = silent(from, to, withoutProxy, await store.proxies(type));
  if (missing.length === 0) return answers;
  // Writes would be held back for one that does not answer.
  const says = describeUnacknowledged(missing);
  return answers.map((answer) =>
    answer.gate === "proxies" && answer.state === "pass"
      ? { ...answer, state: "fail", says: `${answer.says}, but it would be ${says}` }
      : answer,
  );
}
