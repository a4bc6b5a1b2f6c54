import { askGates } from "./rollout-gates.ts";
import { gatesText, notesText } from "./rollout-text.ts";
import type { Session } from "./session.ts";
import { openSurvey, type OpenedMoves } from "./wire.ts";
import type { ChildRef, StreamRef } from "../mapping/rules.ts";
import { BanyanError } from "../model/errors.ts";
import { parseQualifiedName } from "../model/table.ts";
import { sumUp, type GateAnswer, type GateState } from "../rollout/gates.ts";
import type { Standing } from "../rollout/move.ts";
import {
  routeNotes,
  uniquenessNotes,
  type PlanNote,
  type SpanningKey,
} from "../rollout/route-notes.ts";
import { UNMOVED } from "../rollout/stage.ts";
import { describeStanding, shareOf } from "../rollout/standing-text.ts";
import { promotionOf } from "../rollout/target.ts";
import type { TableFacts } from "../source/database-facts.ts";

/** The way of one stream type from where it stands to its end. */
export interface TypePlan {
  readonly type: string;
  readonly stage: string;
  readonly share: number;
  readonly paused: boolean;
  readonly steps: readonly PlanStep[];
  readonly notes: readonly PlanNote[];
}

export interface PlanStep {
  readonly to: Standing;
  readonly command: string;
  /** Of the next step only; those behind it are judged when they are next. */
  readonly state?: GateState;
  readonly gates?: readonly GateAnswer[];
}

export async function planOf(
  session: Session,
  opened: OpenedMoves,
  types: readonly string[],
): Promise<readonly TypePlan[]> {
  const { config } = session;
  const standings = await opened.store.standings();
  const keys = await spanningKeys(session);
  const plans: TypePlan[] = [];
  for (const type of types) {
    const { stage, share } = standings.get(type) ?? UNMOVED;
    const steps = stepsOf(type, { stage, share }, config.rollout.shares);
    const [next, ...others] = steps;
    const judged: PlanStep[] = [];
    if (next !== undefined) {
      const kind = next.to.stage === "complete" ? "complete" : "promote";
      const from = { stage, share };
      const wanted = { type, kind, from, to: next.to, force: [], withoutProxy: [] } as const;
      const gates = await askGates(opened, config.rollout.gates, wanted);
      judged.push({ ...next, state: sumUp(gates), gates });
    }
    const paused = standings.get(type)?.paused ?? false;
    // One side alone decides by then.
    const notes =
      stage === "complete"
        ? []
        : [
            ...routeNotes(type, config.routes),
            ...(keys instanceof Map
              ? uniquenessNotes(keys.get(type) ?? [], stage)
              : [{ about: "unique keys", says: `not known: ${keys}` }]),
          ];
    plans.push({ type, stage, share, paused, steps: [...judged, ...others], notes });
  }
  return plans;
}

function stepsOf(type: string, from: Standing, shares: readonly number[]): readonly PlanStep[] {
  const buckets = shares.map((share) => shareOf(`${share}%`)!);
  const steps: PlanStep[] = [];
  for (let at = from; at.stage !== "complete";) {
    if (at.stage === "new") {
      const command = `banyan rollout complete ${type} --word complete-${type}`;
      steps.push({ to: { stage: "complete", share: at.share }, command });
      break;
    }
    at = promotionOf(type, at, undefined, buckets);
    const where = describeStanding(at).replace("canary ", "");
    steps.push({ to: at, command: `banyan rollout promote ${type} --to ${where}` });
  }
  return steps;
}

/** By stream type; or why they are not known. */
async function spanningKeys({
  config,
  scope,
}: Session): Promise<Map<string, SpanningKey[]> | string> {
  try {
    const survey = await openSurvey(config.source.url);
    scope.defer(() => survey.close());
    const { tables } = await survey.facts();
    const streams = Object.entries(config.streams);
    return new Map(streams.map(([type, stream]) => [type, keysOf(stream, tables)]));
  } catch (error) {
    if (!(error instanceof BanyanError)) throw error;
    return error.message;
  }
}

function keysOf({ root, children }: StreamRef, tables: readonly TableFacts[]): SpanningKey[] {
  const of = (name: string): TableFacts | undefined => {
    const { schema, relation } = parseQualifiedName(name);
    return tables.find(({ table }) => table.schema === schema && table.relation === relation);
  };
  const spanning = (name: string, key: readonly string[]): SpanningKey[] =>
    (of(name)?.uniqueRules ?? [])
      .filter(({ columns }) => key.length === 0 || !key.every((column) => columns.includes(column)))
      .map(({ text }) => ({ table: name, text }));
  return [
    ...spanning(root.name, root.key ?? of(root.name)?.primaryKey ?? []),
    ...Object.values(children).flatMap(({ table, parent }: ChildRef) =>
      spanning(table.name, Object.keys(parent)),
    ),
  ];
}

export function planText(plans: readonly TypePlan[]): string {
  return plans
    .flatMap(({ type, stage, share, paused, steps, notes }) => [
      `${type} stands at ${describeStanding({ stage: stage as never, share })}${paused ? ", paused" : ""}`,
      ...(steps.length === 0 ? ["nothing is left to do"] : []),
      ...steps.flatMap(({ command, state, gates }, at) => {
        const now = { pass: "may run now", fail: "may not run now", inconclusive: "has to wait" };
        const says = state === undefined ? "" : `  (${now[state]})`;
        return [`${at + 1}. ${command}${says}`, ...gatesText(gates ?? [])];
      }),
      ...notesText(notes),
      "",
    ])
    .join("\n")
    .trimEnd();
}
