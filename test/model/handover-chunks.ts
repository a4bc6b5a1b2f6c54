import type { Step } from "./explore.ts";
import type { Handover } from "./handover-model.ts";
import { LAST_KEY, ROOT } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Image, OpenSnapshot, Process, ReadChunk, State, Store } from "./handover-state.ts";

/** Roots of a chunk. */
const CHUNK_ROOTS = 1;

const NOT_ASKED: OpenSnapshot = { seen: null, fence: null, to: null };

/**
 * What comes next before the process knows its snapshot, in words: that is asked for and taken, then it
 * is asked where the log ends, and the process hears of both. What lies between asking and taking might
 * as well come before.
 *
 * @returns undefined once it does
 */
export function opening(
  state: State,
  open: OpenSnapshot | null,
  { fault }: Handover,
): { readonly name: string; readonly next: OpenSnapshot } | undefined {
  const snapshot = open ?? NOT_ASKED;
  const { seen, fence } = snapshot;
  if (seen !== null && fence !== null) return undefined;
  if (seen === null && (fault !== "fence before snapshot" || fence !== null)) {
    const now = states.visible(state);
    const name = `a snapshot is asked for and taken; it sees ${states.names(now)}`;
    return { name, next: { ...snapshot, seen: now } };
  }
  const end = state.log.length;
  const name = `the log ends at ${end}, says the source`;
  return { name, next: { ...snapshot, fence: end } };
}

/** Whether a crash of the source can take back nothing that a snapshot saw. */
export function isKept(state: State, fence: number, { fault }: Handover): boolean {
  return state.flushed >= fence || fault === "kept before flushed";
}

/** Take a snapshot, read up to a number of roots after the cursor, make them durable. */
export function* chunkSteps(
  state: State,
  process: Process,
  options: Handover,
): Generator<Step<State>> {
  const { chunk, sent } = process;
  if (sent !== null) yield* durableSteps(state, process, sent, options);
  const cursor = (sent ?? state.store.chunks.at(-1))?.to ?? 0;
  if (cursor === LAST_KEY || (sent !== null && options.scenario.isAhead !== true)) return;
  const withChunk = (next: OpenSnapshot | null): State => ({
    ...state,
    process: { ...process, chunk: next },
  });
  if (state.mishapsLeft > 0 && chunk !== null) {
    const next = { ...withChunk(null), mishapsLeft: state.mishapsLeft - 1 };
    yield { name: "the chunk is given up, to be read again", next };
  }
  const step = opening(state, chunk, options);
  if (step !== undefined) {
    const words = chunk === null ? `keys after ${cursor}: ` : "";
    yield { name: `${words}${step.name}`, next: withChunk(step.next) };
  } else if (chunk!.to === null) {
    const roots = states.rootsOf(states.rowsSeen(state, chunk!.seen!, options.scenario));
    const found = roots.filter((key) => key > cursor);
    const endOf = (count: number): number => found[count - 1] ?? LAST_KEY;
    const to = endOf(CHUNK_ROOTS);
    const range = (end: number): string =>
      `keys after ${cursor} to ${end === LAST_KEY ? "the end" : end}`;
    if (chunk!.until !== undefined) {
      const name = `the chunk takes long, and ends early: ${range(to)}`;
      yield { name, next: withChunk({ ...chunk!, to }) };
      return;
    }
    yield { name: `the chunk is read: ${range(to)}`, next: withChunk({ ...chunk!, to }) };
    if (to === LAST_KEY) return;
    const until = endOf(2 * CHUNK_ROOTS);
    const name = `the chunk is meant to have ${range(until)}`;
    yield { name, next: withChunk({ ...chunk!, until }) };
  } else if (
    sent === null &&
    (chunk!.rows !== undefined || isKept(state, chunk!.fence!, options))
  ) {
    const { to, seen, fence, rows } = chunk!;
    const read = { to: to!, seen: seen!, fence: fence!, ...(rows === undefined ? {} : { rows }) };
    const next = { ...state, process: { ...process, chunk: null, sent: read } };
    yield { name: "the chunk is on its way to the store", next };
  }
}

function* durableSteps(
  state: State,
  process: Process,
  sent: ReadChunk,
  options: Handover,
): Generator<Step<State>> {
  const { fault } = options;
  if (fault === "chunk progress before events") {
    const half = { ...state, process: { ...process, half: "chunk" as const } };
    yield {
      name: "the chunk's progress is durable, without its events",
      next: withProgress(half, sent),
    };
  } else if (fault === "chunk events before progress") {
    const half = { ...state, process: { ...process, half: "chunk" as const } };
    const next = withRows(half, sent, options);
    yield { name: "the chunk's events are durable, without its progress", next };
  } else {
    const next = durable({ ...state, process: { ...process, sent: null } }, sent, options);
    yield { name: "the chunk's events and progress are durable", next };
  }
}

/** What is left of a chunk of which a half is durable. Only with a fault. */
export function secondHalf(state: State, process: Process, options: Handover): Step<State> {
  const next = { ...state, process: { ...process, sent: null, half: null } };
  return options.fault === "chunk progress before events"
    ? { name: "the chunk's events are durable", next: withRows(next, process.sent!, options) }
    : { name: "the chunk's progress is durable", next: withProgress(next, process.sent!) };
}

/** A chunk's events, images and progress are one store transaction. */
export function durable(state: State, chunk: ReadChunk, options: Handover): State {
  const how = `${states.textOf(chunk)} ${state.log.join()}`;
  const make = (): Store => withProgress(withRows(state, chunk, options), chunk).store;
  return { ...state, store: made.once(state.store, how, make) };
}

const made = new states.MadeOf<Store>();

function withProgress(state: State, { seen, fence, to }: ReadChunk): State {
  const chunks = [...state.store.chunks, { to, seen, fence }];
  return { ...state, store: { ...state.store, chunks } };
}

/** Baseline events of the chunk's aggregates, and images of their rows. */
function withRows(
  state: State,
  { seen, to, rows: read }: ReadChunk,
  { scenario, fault }: Handover,
): State {
  // Of a chunk whose progress is durable already, the cursor is the one before.
  const cursor = state.store.chunks.findLast((other) => other.to < to)?.to ?? 0;
  const events = state.store.events.map((list) => [...list]);
  const images: Record<string, Image> = { ...state.store.images };
  for (const [key, all] of read ?? states.rowsSeen(state, seen, scenario)) {
    const rows = Object.entries(all).filter(([row]) => states.isChunked(row, scenario));
    if (key <= cursor || key > to || rows.length === 0) continue;
    events[key]!.push({ kind: "baseline", cells: Object.fromEntries(rows) });
    if (scenario.identity === "full") continue;
    for (const [row, value] of rows) {
      const name = states.imageName(row, key);
      // The stream's own image of a child stays: it is as of the place that the stream has read to.
      const isFree = row === ROOT || images[name] === undefined;
      if (isFree || fault === "image overwritten") images[name] = [key, value!];
    }
  }
  return { ...state, store: { ...state.store, events, images: states.sorted(images) } };
}
