import type { Model, Step } from "./explore.ts";
import type { Fault } from "./handover-fault.ts";
import { broken } from "./handover-laws.ts";
import { conflict, KEYS, LAST_KEY, ROOT, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Process, State, Status } from "./handover-state.ts";
import { admitNext, writeBatch } from "./handover-stream.ts";

export interface Handover {
  readonly scenario: Scenario;
  /** In chunks beside the log, or at once under the snapshot that the slot exports. */
  readonly baseline: "chunks" | "exported";
  readonly fault?: Fault | undefined;
}

/** Transactions of a batch, and roots of a chunk. */
const BATCH_MAX = 2;
const CHUNK_ROOTS = 1;

/**
 * A source that is written to, and a process that takes it over: it makes the publication, then the
 * slot, notes the checkpoint, and from then on reads the log while it reads chunks of rows, until it
 * has all of both. Each step is one thing that another may come before or after; a crash may come
 * between any two.
 *
 * What is not modelled: rows are of one stream type, a transaction writes at one moment, the log is
 * never lost, and there is one process at a time (the store fences a second).
 */
export function handover(options: Handover): Model<State> {
  const { scenario } = options;
  return {
    initial: {
      status: scenario.transactions.map(() => "idle"),
      log: [],
      published: false,
      unsent: [],
      slot: null,
      store: { checkpoint: null, chunks: [], events: [[], ...KEYS.map(() => [])], images: {} },
      process: started(0, []),
      mishapsLeft: scenario.mishapsMax,
    },
    steps: (state) => [...sourceSteps(state, scenario), ...processSteps(state, options)],
    broken: (state, isStuck) => broken(state, scenario, isStuck),
  };
}

function started(position: number, waitsFor: readonly number[]): Process {
  return { waitsFor, written: position, position, chunk: null, half: null, failed: null };
}

/** A transaction begins and writes, its commit gets into the log, and later it becomes visible. */
function* sourceSteps(state: State, { transactions }: Scenario): Generator<Step<State>> {
  for (const [t, transaction] of transactions.entries()) {
    const name = `T${t + 1}`;
    const become = (status: Status, more: Partial<State> = {}): State =>
      forgetOver({ ...state, ...more, status: state.status.with(t, status) }, t, status);
    switch (state.status[t]!) {
      case "idle": {
        const isLocked = transactions
          .slice(0, t)
          .some((other, o) => conflict(other, transaction) && !states.isOver(state.status[o]!));
        if (isLocked) break;
        const unsent = state.published ? state.unsent : [...state.unsent, t].sort(ascending);
        yield { name: `${name} begins and writes`, next: become("open", { unsent }) };
        break;
      }
      case "open":
        if (transaction.rollsBack === true) {
          yield { name: `${name} rolls back`, next: become("rolled back") };
        } else {
          const next = become("logged", { log: [...state.log, t] });
          yield { name: `${name}'s commit is in the log`, next };
        }
        break;
      case "logged":
        yield { name: `${name} becomes visible`, next: become("visible") };
        break;
      case "visible":
      case "rolled back":
    }
  }
}

/** Nothing waits any more for a transaction that is over. */
function forgetOver(state: State, over: number, status: Status): State {
  if (!states.isOver(status)) return state;
  const without = (list: readonly number[]): number[] => list.filter((t) => t !== over);
  const { slot, process, unsent } = state;
  const isLogRetained = slot !== null && "confirmed" in slot;
  return {
    ...state,
    unsent: isLogRetained ? unsent : without(unsent),
    slot: slot === null || isLogRetained ? slot : { waitsFor: without(slot.waitsFor) },
    process: { ...process, waitsFor: without(process.waitsFor) },
  };
}

function* processSteps(state: State, options: Handover): Generator<Step<State>> {
  const { store, process } = state;
  if (process.failed !== null) return;
  if (state.mishapsLeft > 0 && !states.isFinished(state)) yield crash(state);
  if (store.checkpoint === null) yield* beginSteps(state, options);
  else if (process.half !== null) yield secondHalf(state, process, options);
  else if (confirmedOf(state) < store.checkpoint) {
    const next = { ...state, slot: { confirmed: store.checkpoint } };
    yield { name: `${store.checkpoint} is acknowledged`, next };
  } else {
    yield* streamSteps(state, process, options);
    yield* chunkSteps(state, process, options);
  }
}

function confirmedOf({ slot }: State): number {
  return slot !== null && "confirmed" in slot ? slot.confirmed : 0;
}

/** The publication, then the slot, then the checkpoint at which the log begins. */
function* beginSteps(state: State, options: Handover): Generator<Step<State>> {
  const { slot, published } = state;
  const isSlotFirst = options.fault === "slot before publication";
  if (!published && (!isSlotFirst || (slot !== null && "confirmed" in slot))) {
    yield { name: "the publication is made", next: { ...state, published: true } };
  } else if (slot === null) {
    const waitsFor = states.inProgress(state);
    const list = waitsFor.length === 0 ? "nothing" : names(waitsFor);
    yield {
      name: `the slot is asked for, waits for ${list}`,
      next: { ...state, slot: { waitsFor } },
    };
  } else if ("waitsFor" in slot) {
    if (slot.waitsFor.length > 0) return;
    const confirmed = state.log.length;
    // What the log will not tell: every snapshot from now on has to see it.
    const unseen = state.log.filter((t) => state.status[t] !== "visible").sort(ascending);
    const waitsFor = options.fault === "no wait at the start" ? [] : unseen;
    const name = `the slot is there: the log is retained from ${confirmed} on`;
    yield { name, next: { ...state, slot: { confirmed }, process: started(confirmed, waitsFor) } };
  } else if (state.process.waitsFor.length === 0) {
    if (options.baseline === "exported") yield exportedBaseline(state, slot.confirmed, options);
    else {
      const store = { ...state.store, checkpoint: slot.confirmed };
      yield { name: `checkpoint ${slot.confirmed} is durable`, next: { ...state, store } };
    }
  }
}

/** The exported snapshot sees exactly what lies before the slot in the log, whatever is visible. */
function exportedBaseline(state: State, checkpoint: number, options: Handover): Step<State> {
  const seen = state.log.slice(0, checkpoint).sort(ascending);
  const chunk = { seen, isKnown: true, fence: checkpoint, to: LAST_KEY };
  const process = { ...started(checkpoint, []), chunk };
  const whole = withProgress(withRows(state, process, options), process);
  const store = { ...whole.store, checkpoint };
  const next = { ...state, store, process: started(checkpoint, []) };
  return { name: `the baseline as of ${checkpoint} and that checkpoint are durable`, next };
}

/**
 * The process dies and is started again. That is one step: whatever the source does in between it can
 * as well do before. Without a checkpoint nothing was begun, and a slot that is there is made anew.
 */
function crash(state: State): Step<State> {
  const mishapsLeft = state.mishapsLeft - 1;
  const { checkpoint } = state.store;
  if (checkpoint === null) {
    const name = "CRASH; the process starts again, without a checkpoint";
    return { name, next: { ...state, mishapsLeft, slot: null, process: started(0, []) } };
  }
  const position = Math.max(checkpoint, confirmedOf(state));
  const process = started(position, []);
  const name = `CRASH; the process starts again at ${position} of the log`;
  return { name, next: { ...state, mishapsLeft, process } };
}

/** Let the next transaction in, or write those that are. */
function* streamSteps(state: State, process: Process, options: Handover): Generator<Step<State>> {
  const { fault } = options;
  const { written, position } = process;
  if (position < state.log.length && position - written < BATCH_MAX) {
    const step = admitNext(state, process, options);
    if (step !== undefined) yield step;
  }
  if (position === written) return;
  if (fault === "checkpoint before append") {
    const store = { ...state.store, checkpoint: position };
    const next = { ...state, store, process: { ...process, half: "batch" as const } };
    yield { name: `checkpoint ${position} is durable, without the events before it`, next };
    return;
  }
  if (fault === "acknowledge before append" && confirmedOf(state) < position) {
    const next = { ...state, slot: { confirmed: position } };
    yield { name: `${position} is acknowledged`, next };
  }
  yield writeBatch(state, process, options);
}

/** Take a snapshot, read up to a number of roots after the cursor, make them durable. */
function* chunkSteps(state: State, process: Process, options: Handover): Generator<Step<State>> {
  const { store } = state;
  const { chunk } = process;
  const cursor = store.chunks.at(-1)?.to ?? 0;
  if (cursor === LAST_KEY) return;
  const withChunk = (next: states.OpenChunk): State => ({
    ...state,
    process: { ...process, chunk: next },
  });
  if (chunk === null) {
    const next = withChunk({ seen: null, isKnown: false, fence: 0, to: null });
    yield { name: `a snapshot for the keys after ${cursor} is asked for`, next };
    return;
  }
  if (state.mishapsLeft > 0) {
    const mishapsLeft = state.mishapsLeft - 1;
    const next = { ...state, mishapsLeft, process: { ...process, chunk: null } };
    yield { name: "the chunk is given up, to be read again", next };
  }
  if (chunk.seen === null) {
    const seen = states.visible(state);
    const next = withChunk({ seen, isKnown: false, fence: state.log.length, to: null });
    yield { name: `the snapshot is taken; it sees ${names(seen)}`, next };
  } else if (!chunk.isKnown) {
    yield { name: "the process has the snapshot", next: withChunk({ ...chunk, isKnown: true }) };
  } else if (chunk.to === null) {
    const roots = states.rootsOf(rowsSeen(state, chunk.seen, options.scenario));
    const found = roots.filter((key) => key > cursor);
    const endOf = (count: number): number => found[count - 1] ?? LAST_KEY;
    const to = endOf(CHUNK_ROOTS);
    const range = (end: number): string =>
      `keys after ${cursor} to ${end === LAST_KEY ? "the end" : end}`;
    if (chunk.until !== undefined) {
      const name = `the chunk takes long, and ends early: ${range(to)}`;
      yield { name, next: withChunk({ ...chunk, to }) };
      return;
    }
    yield { name: `the chunk is read: ${range(to)}`, next: withChunk({ ...chunk, to }) };
    if (to === LAST_KEY) return;
    const until = endOf(2 * CHUNK_ROOTS);
    const name = `the chunk is meant to have ${range(until)}`;
    yield { name, next: withChunk({ ...chunk, until }) };
  } else if (options.fault === "chunk progress before events") {
    const next = withProgress({ ...state, process: { ...process, half: "chunk" } }, process);
    yield { name: "the chunk's progress is durable, without its events", next };
  } else if (options.fault === "chunk events before progress") {
    const half = { ...state, process: { ...process, half: "chunk" as const } };
    yield {
      name: "the chunk's events are durable, without its progress",
      next: withRows(half, process, options),
    };
  } else {
    const next = withRows({ ...state, process: { ...process, chunk: null } }, process, options);
    yield {
      name: "the chunk's events and progress are durable",
      next: withProgress(next, process),
    };
  }
}

function withProgress(state: State, { chunk }: Process): State {
  const { seen, fence, to } = chunk!;
  const chunks = [...state.store.chunks, { to: to!, seen: seen!, fence }];
  return { ...state, store: { ...state.store, chunks } };
}

/** Baseline events of the chunk's aggregates, and images of their children. */
function withRows(state: State, { chunk }: Process, { scenario, fault }: Handover): State {
  const { seen, to } = chunk!;
  // Of a chunk whose progress is durable already, the cursor is the one before.
  const cursor = state.store.chunks.findLast((other) => other.to < to!)?.to ?? 0;
  const events = state.store.events.map((list) => [...list]);
  const images: Record<string, number> = { ...state.store.images };
  for (const [key, cells] of rowsSeen(state, seen!, scenario)) {
    if (key <= cursor || key > to! || Object.keys(cells).length === 0) continue;
    events[key]!.push({ kind: "baseline", cells });
    for (const row of Object.keys(cells)) {
      if (scenario.identity === "full" || row === ROOT) continue;
      // The stream's own image stays: it is as of the place that the stream has read to.
      if (images[row] === undefined || fault === "image overwritten") images[row] = key;
    }
  }
  return { ...state, store: { ...state.store, events, images: states.sorted(images) } };
}

function rowsSeen(
  { log }: State,
  seen: readonly number[],
  scenario: Scenario,
): ReadonlyMap<number, states.Cells> {
  return states.rowsAfter(scenario, log, (t) => seen.includes(t));
}

function secondHalf(state: State, process: Process, options: Handover): Step<State> {
  if (process.half === "batch") {
    return writeBatch(state, process, options);
  }
  const next = { ...state, process: { ...process, chunk: null, half: null } };
  return options.fault === "chunk progress before events"
    ? { name: "the chunk's events are durable", next: withRows(next, process, options) }
    : { name: "the chunk's progress is durable", next: withProgress(next, process) };
}

function ascending(a: number, b: number): number {
  return a - b;
}

function names(transactions: readonly number[]): string {
  if (transactions.length === 0) return "none";
  return transactions.map((t) => `T${t + 1}`).join(", ");
}
