import { KEYS, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Cells, ModelEvent, State } from "./handover-state.ts";

/**
 * What holds in every state.
 *
 * 1. Nothing is acknowledged that is not durable.
 * 2. The events of an aggregate begin with its baseline, if it has one, and then stand in the order of
 *    the commits, none twice.
 * 3. What a transaction did to an aggregate is in its baseline or told by one event, never both; and
 *    once the checkpoint is past it and the aggregate's chunk durable, never neither.
 * 4. The fold of an aggregate whose chunk is durable is its rows, as they are after what is in its
 *    baseline and what lies before the checkpoint: in the end, after all.
 * 5. No change is written while it is uncertain whether it is told.
 * 6. It is always done in the end: no other state is one in which nothing can happen any more.
 */
export function broken(state: State, scenario: Scenario, isStuck: boolean): string | undefined {
  const { slot, store } = state;
  if (slot !== null && "confirmed" in slot && store.checkpoint !== null) {
    if (slot.confirmed > store.checkpoint) {
      return `acknowledged to ${slot.confirmed}, but durable only to ${store.checkpoint}`;
    }
  }
  if (state.process.failed !== null) return state.process.failed;
  for (const key of KEYS) {
    const wrong =
      outOfOrder(key, store.events[key]!, state) ??
      untold(key, state, scenario) ??
      unlikeRows(key, state, scenario);
    if (wrong !== undefined) return wrong;
  }
  return isStuck && !states.isFinished(state)
    ? "nothing can happen any more, and it is not finished"
    : undefined;
}

function outOfOrder(
  key: number,
  events: readonly ModelEvent[],
  { log }: State,
): string | undefined {
  let last = -1;
  for (const [place, event] of events.entries()) {
    if (event.kind === "baseline") {
      if (place > 0) return `aggregate ${key} has a baseline that is not its first event`;
      continue;
    }
    const at = log.indexOf(event.by);
    if (at === last) return `aggregate ${key} was told of T${event.by + 1} twice`;
    if (at < last) return `aggregate ${key} was told of T${event.by + 1} out of order`;
    last = at;
  }
  return undefined;
}

function untold(key: number, state: State, scenario: Scenario): string | undefined {
  const { store, log, process } = state;
  const chunk = store.chunks.find(({ to }) => key <= to);
  const events = store.events[key]!;
  if (chunk === undefined) {
    if (events.length === 0 || process.half === "chunk") return undefined;
    return `aggregate ${key} has events, but its chunk is not recorded`;
  }
  for (const [at, by] of log.entries()) {
    const side = states.sidesOf(scenario.transactions[by]!, by).get(key);
    const event = events.find((other) => other.kind === "change" && other.by === by);
    const name = `T${by + 1}`;
    if (side === undefined) {
      if (event !== undefined)
        return `aggregate ${key} was told of ${name}, which did not touch it`;
      continue;
    }
    const isHeld = chunk.seen.includes(by);
    if (isHeld && event !== undefined) {
      return `aggregate ${key} was told of ${name}, which its baseline holds already`;
    }
    const isPast = store.checkpoint !== null && at < store.checkpoint;
    if (!isPast && event !== undefined && process.half !== "batch") {
      return `${name} is told, but the checkpoint is before it`;
    }
    if (isPast && !isHeld && event === undefined && process.half !== "batch") {
      return `LOST: what ${name} did to aggregate ${key} is in no baseline, and was not told`;
    }
  }
  return undefined;
}

function unlikeRows(
  key: number,
  { log, store, process }: State,
  scenario: Scenario,
): string | undefined {
  const chunk = store.chunks.find(({ to }) => key <= to);
  if (chunk === undefined || process.half !== null) return undefined;
  const isIn = (t: number): boolean => chunk.seen.includes(t) || log.indexOf(t) < store.checkpoint!;
  const folded = JSON.stringify(fold(store.events[key]!));
  const wanted = JSON.stringify(states.rowsAfter(scenario, log, isIn).get(key) ?? {});
  return folded === wanted
    ? undefined
    : `aggregate ${key} folds to ${folded}, but its rows are ${wanted}`;
}

function fold(events: readonly ModelEvent[]): Cells {
  const cells: Record<string, number> = {};
  for (const event of events) {
    for (const [row, value] of Object.entries(event.cells)) {
      if (value === null) delete cells[row];
      else cells[row] = value;
    }
  }
  return states.sorted(cells);
}
