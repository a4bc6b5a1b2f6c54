import type { Step } from "./explore.ts";
import { isKept, opening } from "./handover-chunks.ts";
import { fold } from "./handover-laws.ts";
import type { Handover } from "./handover-model.ts";
import type { Rules } from "./handover-rules.ts";
import { ROOT } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Image, OpenSnapshot, Process, State } from "./handover-state.ts";

/**
 * An aggregate that somebody asked for is read anew, by whoever follows the log, where all that was taken
 * from it is durable: see src/pipeline/rebaseline-streams.ts. One that is asked for while its baseline
 * goes on is deferred.
 */
export function* anewSteps(
  state: State,
  process: Process,
  options: Handover,
  rules: Rules,
): Generator<Step<State>> {
  const { scenario, fault } = options;
  const { anew, written, position, sent } = process;
  const key = scenario.anew;
  if (key === undefined || state.store.anew !== null) return;
  const withAnew = (next: OpenSnapshot | null): State => ({
    ...state,
    process: { ...process, anew: next },
  });
  if (anew === null) {
    const isSettled = position === written && sent === null;
    if (!isSettled) return;
    if (fault !== "read anew too early" && !rules.isReadable(state, process)) return;
    const isSeen = state.log.slice(0, position).every((t) => state.status[t] === "visible");
    if (!isSeen && fault !== "read anew before seen") return;
  }
  const step = opening(state, anew, options);
  if (step !== undefined) {
    const words = anew === null ? `aggregate ${key} is read anew: ` : "";
    yield { name: `${words}${step.name}`, next: withAnew(step.next) };
  } else if (isKept(state, anew!.fence!, options)) {
    const next = { ...withAnew(null), store: readAnew(state, key, anew!, options) };
    yield { name: `aggregate ${key} as it was read anew is durable`, next };
  }
}

function readAnew(
  { store, ...state }: State,
  key: number,
  { seen, fence }: OpenSnapshot,
  { scenario }: Handover,
): State["store"] {
  const cells = states.rowsSeen({ store, ...state }, seen!, scenario).get(key) ?? {};
  const told = fold(store.events[key]!);
  const images: Record<string, Image> = { ...store.images };
  const rows = scenario.identity === "full" ? [] : Object.keys({ ...told, ...cells });
  for (const row of rows) {
    const name = states.imageName(row, key);
    const image = images[name];
    // Of another aggregate: the log has yet to tell of the move.
    if (row !== ROOT && image !== undefined && image[0] !== key) continue;
    const value = cells[row];
    if (value === undefined) delete images[name];
    else images[name] = [key, value!];
  }
  const events = store.events.with(key, [...store.events[key]!, { kind: "anew", cells }]);
  const snapshot = { seen: seen!, fence: fence! };
  return { ...store, events, images: states.sorted(images), anew: snapshot };
}
