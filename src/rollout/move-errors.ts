import { describeStanding } from "./standing-text.ts";
import type { Standing } from "./move.ts";
import type { Move } from "./rollout-store.ts";
import { BanyanError } from "../model/errors.ts";

/** A driver says every second that it is alive; one that was silent for so long may be relieved. */
export const SILENT_MS_MAX = 5_000;

/** Another move is under way. @param silentMs since its driver was heard */
export function busy(move: Move, silentMs: number): BanyanError {
  const { type, kind, from, to, who, startedAt, step } = move;
  const what = `${kind} of ${type} from ${describeStanding(from)} to ${describeStanding(to)}`;
  const hint =
    silentMs > SILENT_MS_MAX
      ? `Its process seems to have ended: \`banyan rollout resume ${type}\` takes it up, and so does a running \`banyan rollout run\`.`
      : "Wait until it has ended; `banyan rollout status` shows how far it is.";
  const message = `${who} began a ${what} at ${startedAt}; it is under way (${step})`;
  return new BanyanError("ROLLOUT_BUSY", message, { hint, detail: { move: move.id, type } });
}

/** The stream type does not stand where the caller has seen it. @param found undefined: it moves just now */
export function changed(
  type: string,
  expected: Standing,
  found: Standing | undefined,
): BanyanError {
  const now =
    found === undefined ? "moves just now" : `stands at ${describeStanding(found)} by now`;
  return new BanyanError("ROLLOUT_BUSY", `${type} ${now}, not at ${describeStanding(expected)}`, {
    hint: "Somebody else has moved it meanwhile: look at `banyan rollout log`, and run the command again.",
    detail: { type },
  });
}

/** Another process drives the move. */
export function relieved({ id, type }: Pick<Move, "id" | "type">): BanyanError {
  const message = `another process has taken over the move of ${type}; nothing more of it is done here`;
  return new BanyanError("ROLLOUT_BUSY", message, {
    hint: "See how it ended with `banyan rollout log`.",
    detail: { move: id, type },
  });
}

/** The answer to a step was lost, and the step was taken. */
export function stale({ id, type }: Pick<Move, "id" | "type">, step: string): BanyanError {
  const message = `the move of ${type} is at step ${step}, further than was answered; it is left as it is`;
  return new BanyanError("ROLLOUT_BUSY", message, {
    hint: `After some seconds \`banyan rollout resume ${type}\` takes it up, and so does a running \`banyan rollout run\`.`,
    detail: { move: id, type },
  });
}
