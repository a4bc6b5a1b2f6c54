import { KEYS, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Cells, Image, ModelEvent, State, Store } from "./handover-state.ts";

/**
 * What holds in every state.
 *
 * 1. Nothing is acknowledged that is not durable.
 * 2. The events of an aggregate begin with its baseline, if it has one, and then stand in the order of
 *    the commits, none twice. Of a table that joins, its rows' baseline comes before their changes.
 * 3. What a transaction did to a row of an aggregate is in its baseline or told by one event, never both;
 *    and once the checkpoint is past it and the aggregate's chunk durable, never neither. An aggregate
 *    that is read anew holds all that was told before, and nothing that is told after.
 * 4. The fold of an aggregate whose chunk is durable is its rows, as they are after what is in its
 *    baseline and what lies before the checkpoint: in the end, after all.
 * 5. No change is written while it is uncertain whether it is told, and none is told without the row
 *    before it, as it was.
 * 6. It is always done in the end: no other state is one in which nothing can happen any more. Then the
 *    images that are kept are those of the rows that are there.
 */
export function broken(state: State, scenario: Scenario, isStuck: boolean): string | undefined {
  const { slot, store } = state;
  if (slot !== null && "confirmed" in slot && store.checkpoint !== null) {
    if (slot.confirmed > store.checkpoint) {
      return `acknowledged to ${slot.confirmed}, but durable only to ${store.checkpoint}`;
    }
  }
  if (state.process.failed !== null) return state.process.failed;
  const wrong = ofStore(state, scenario);
  if (wrong !== undefined) return wrong;
  if (!isStuck) return undefined;
  return states.isFinished(state, scenario)
    ? unlikeImages(state, scenario)
    : "nothing can happen any more, and it is not finished";
}

function unlikeImages({ log, store }: State, scenario: Scenario): string | undefined {
  const images: Record<string, Image> = {};
  for (const [key, cells] of states.rowsAfter(scenario, log, () => true)) {
    if (scenario.identity === "full") break;
    for (const [row, value] of Object.entries(cells))
      images[states.imageName(row, key)] = [key, value!];
  }
  const [is, ought] = [store.images, states.sorted(images)].map((one) => JSON.stringify(one));
  return is === ought ? undefined : `images of ${is} are kept, but the rows are ${ought}`;
}

/** What was found of a store, of which most states have the same as the one before. */
const found = new WeakMap<
  Store,
  Pick<State, "log"> & { half: unknown; wrong: string | undefined }
>();

/** All of it follows from the store, the log and whether a half is durable. */
function ofStore(state: State, scenario: Scenario): string | undefined {
  const { store, log, process } = state;
  const known = found.get(store);
  if (known?.log === log && known.half === process.half) return known.wrong;
  let wrong: string | undefined;
  for (const key of KEYS) {
    wrong ??=
      outOfOrder(key, state, scenario) ??
      untold(key, state, scenario) ??
      unlikeRows(key, state, scenario);
  }
  found.set(store, { log, half: process.half, wrong });
  return wrong;
}

function outOfOrder(
  key: number,
  { log, store, process }: State,
  scenario: Scenario,
): string | undefined {
  let last = -1;
  let isFirst = true;
  const chunk = store.chunks.find(({ to }) => key <= to);
  for (const event of store.events[key]!) {
    const isOfChunk = Object.keys(event.cells).some((row) => states.isChunked(row, scenario));
    if (event.kind === "baseline") {
      if (isOfChunk && !isFirst)
        return `aggregate ${key} has a baseline that is not its first event`;
      if (isOfChunk) isFirst = false;
      continue;
    }
    if (isOfChunk && chunk === undefined && process.half !== "chunk")
      return `aggregate ${key} has events, but its chunk is not recorded`;
    if (isOfChunk) isFirst = false;
    if (event.kind === "anew") continue;
    const at = log.indexOf(event.by);
    if (at === last) return `aggregate ${key} was told of T${event.by + 1} twice`;
    if (at < last) return `aggregate ${key} was told of T${event.by + 1} out of order`;
    last = at;
  }
  const hasBaseline = !isFirst && chunk === undefined && process.half !== "chunk";
  return hasBaseline ? `aggregate ${key} has events, but its chunk is not recorded` : undefined;
}

function untold(key: number, state: State, scenario: Scenario): string | undefined {
  const { store, log, process } = state;
  const events = store.events[key]!;
  for (const [at, by] of log.entries()) {
    const sides = states.sidesOf(scenario.transactions[by]!, by).get(key) ?? {};
    const event = events.find((other) => other.kind === "change" && other.by === by);
    const name = `T${by + 1}`;
    const strange = Object.keys(event?.cells ?? {}).find((row) => sides[row] === undefined);
    if (strange !== undefined)
      return `aggregate ${key} was told of ${name}, which did not touch its ${strange}`;
    const isPast = store.checkpoint !== null && at < store.checkpoint;
    if (!isPast && event !== undefined && process.half !== "batch") {
      return `${name} is told, but the checkpoint is before it`;
    }
    for (const row of Object.keys(sides)) {
      const seen = seenOf(key, row, state, scenario);
      if (seen === undefined) continue;
      const isTold = event?.cells[row] !== undefined;
      const isSeen = seen.includes(by);
      const isHeld = isSeen || wasReadAnewWith(by, key, state, scenario);
      if (isTold && isSeen)
        return `aggregate ${key} was told of ${name}, which its baseline holds already`;
      const wrong = isTold ? unlikeAnew(event!, by, key, state, scenario) : undefined;
      if (wrong !== undefined) return wrong;
      if (isPast && !isHeld && !isTold && process.half !== "batch") {
        return `LOST: what ${name} did to aggregate ${key} is in no baseline, and was not told`;
      }
    }
  }
  return undefined;
}

/** What is told before an aggregate is read anew is seen by that, and what is told after it is not. */
function unlikeAnew(
  event: ModelEvent,
  by: number,
  key: number,
  state: State,
  scenario: Scenario,
): string | undefined {
  if (state.store.anew === null || key !== scenario.anew) return undefined;
  const events = state.store.events[key]!;
  const isBefore = events.indexOf(event) < events.findIndex(({ kind }) => kind === "anew");
  const isSeen = wasReadAnewWith(by, key, state, scenario);
  if (isBefore === isSeen) return undefined;
  return isBefore
    ? `LOST: aggregate ${key} was told of T${by + 1}, and read anew without it`
    : `aggregate ${key} was told of T${by + 1}, which it held already when it was read anew`;
}

function wasReadAnewWith(by: number, key: number, { store }: State, scenario: Scenario): boolean {
  return key === scenario.anew && store.anew?.seen.includes(by) === true;
}

/** What the chunk saw that holds a row of an aggregate; undefined while there is none. */
function seenOf(
  key: number,
  row: string,
  { store }: State,
  scenario: Scenario,
): readonly number[] | undefined {
  if (!states.isChunked(row, scenario)) return [];
  return store.chunks.find(({ to }) => key <= to)?.seen;
}

function unlikeRows(key: number, state: State, scenario: Scenario): string | undefined {
  const { log, store, process } = state;
  if (process.half !== null) return undefined;
  const folded = fold(store.events[key]!);
  const wanted: Record<string, number | null> = {};
  for (const row of ["line", "root"]) {
    const seen = seenOf(key, row, state, scenario);
    if (seen === undefined) continue;
    const isIn = (t: number): boolean =>
      seen.includes(t) ||
      wasReadAnewWith(t, key, state, scenario) ||
      (store.checkpoint !== null && log.indexOf(t) < store.checkpoint);
    const value = states.rowsAfter(scenario, log, isIn).get(key)?.[row];
    if (value !== undefined) wanted[row] = value;
  }
  const [is, ought] = [JSON.stringify(folded), JSON.stringify(wanted)];
  return is === ought ? undefined : `aggregate ${key} folds to ${is}, but its rows are ${ought}`;
}

/** An aggregate's rows by its events. */
export function fold(events: readonly ModelEvent[]): Cells {
  let cells: Record<string, number> = {};
  for (const event of events) {
    if (event.kind === "anew") cells = {};
    for (const [row, value] of Object.entries(event.cells)) {
      if (value === null) delete cells[row];
      else cells[row] = value;
    }
  }
  return states.sorted(cells);
}
