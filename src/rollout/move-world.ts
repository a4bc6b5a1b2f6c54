import type { EventMarks } from "./event-marks.ts";
import { MovingParity } from "./moving-parity.ts";
import type { MoveWorld, ReverseState } from "./run-move.ts";
import { isBefore } from "../model/position.ts";
import type { VerifyOptions } from "../verify/prepare.ts";
import { plural } from "../model/count-text.ts";

/** The world of one move. @param salt of its rollout */
export function moveWorld(options: VerifyOptions, marks: EventMarks, salt: string): MoveWorld {
  const parity = new MovingParity(options, marks, salt);
  return {
    prepare: (move, signal) => parity.prepare(move, signal),
    compare: (move, signal) => parity.compare(move, signal),
    fence: () => options.source.fence(),
    async hasApplied(fence) {
      const record = await options.store.pipeline(options.pipeline);
      return record?.checkpoint !== undefined && !isBefore(record.checkpoint, fence);
    },
    eventsEnd: () => marks.eventsEnd(),
    reverse: (type, place) => reverseState(marks, type, place),
  };
}

async function reverseState(marks: EventMarks, type: string, place: string): Promise<ReverseState> {
  const conflicts = await marks.reverseConflicts(type);
  if (conflicts > 0) {
    const says = `${plural(conflicts, "aggregate waits", "aggregates wait")} in a conflict of reverse sync; see banyan status`;
    return { kind: "conflict", says };
  }
  switch (await marks.reverseReached(type, place)) {
    case true:
      return { kind: "applied" };
    case false:
      return { kind: "behind", says: "reverse sync has not applied everything" };
    case undefined:
      return { kind: "behind", says: "reverse sync is not running; start banyan rollout run" };
  }
}
