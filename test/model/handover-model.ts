import type { Model, Step } from "./explore.ts";
import { anewSteps } from "./handover-anew.ts";
import { beginSteps } from "./handover-begin.ts";
import { chunkSteps, durable, secondHalf } from "./handover-chunks.ts";
import type { Fault } from "./handover-fault.ts";
import { broken } from "./handover-laws.ts";
import { Rules } from "./handover-rules.ts";
import { isJoining, type Scenario } from "./handover-scenario.ts";
import { sourceSteps, withoutUnflushed } from "./handover-source.ts";
import * as states from "./handover-state.ts";
import { started, type Process, type State } from "./handover-state.ts";
import { admitNext, toldBefore, writeBatch } from "./handover-stream.ts";

export interface Handover {
  readonly scenario: Scenario;
  /** In chunks beside the log, or at once under the snapshot that the slot exports. */
  readonly baseline: "chunks" | "exported";
  readonly fault?: Fault | undefined;
}

/** Transactions of a batch. */
const BATCH_MAX = 2;

/**
 * A source that is written to, and a process that takes it over: it makes the publication, then the
 * slot, notes the checkpoint, and from then on reads the log while it reads chunks of rows, until it
 * has all of both. Each step is one thing that another may come before or after; a crash may come
 * between any two. A batch and a chunk become durable in whatever order: that they wait in one line for
 * the store is not relied on.
 *
 * What is not modelled: rows are of one stream type, a transaction writes at one moment, the log is
 * never lost, and there is one process at a time (the store fences a second).
 */
export function handover(options: Handover): Model<State> {
  const { scenario, fault } = options;
  const rules = new Rules(scenario, fault);
  // How it begins, other scenarios show.
  const isLate = isJoining(scenario) || isBegun(options);
  return {
    initial: {
      status: scenario.transactions.map(() => "idle"),
      ids: scenario.transactions.map((_, t) => t + 1),
      log: [],
      flushed: 0,
      published: isBegun(options),
      unsent: [],
      slot: isLate ? { confirmed: 0 } : null,
      store: {
        checkpoint: isLate ? 0 : null,
        isBegun: isBegun(options),
        chunks: [],
        anew: null,
        ...toldBefore(scenario),
      },
      process: started(0),
      mishapsLeft: scenario.mishapsMax,
    },
    steps: async (state) => [
      ...sourceSteps(state, scenario),
      ...(await processSteps(state, options, rules)),
    ],
    parts: ({ process, ...source }) =>
      [source, process].flatMap((part): unknown[] => Object.values(part)),
    broken: (state, isStuck) =>
      broken(state, scenario, isStuck) ??
      (isStuck && rules.isActive(state, state.process)
        ? "the log has passed all that was read, and changes are judged all the same"
        : undefined),
  };
}

/** Whether the slot and the checkpoint are there from the first. */
function isBegun({ baseline, scenario: { meanwhile, anew } }: Handover): boolean {
  const isOther = meanwhile !== undefined || anew !== undefined;
  return isOther && baseline === "chunks" && meanwhile !== "a table joins";
}

async function processSteps(
  state: State,
  options: Handover,
  rules: Rules,
): Promise<readonly Step<State>[]> {
  const { store, process } = state;
  if (process.failed !== null) return [];
  const steps: Step<State>[] = [];
  if (state.mishapsLeft > 0 && !states.isFinished(state, options.scenario))
    steps.push(...crashes(state, options));
  if (!store.isBegun) steps.push(...beginSteps(state, options));
  else if (process.half === "batch") steps.push(await writeBatch(state, process, options, rules));
  else if (process.half === "chunk") steps.push(secondHalf(state, process, options));
  else if (states.confirmedOf(state) < store.checkpoint!) {
    const next = { ...state, slot: { confirmed: store.checkpoint! } };
    steps.push({ name: `${store.checkpoint} is acknowledged`, next });
  } else {
    steps.push(...anewSteps(state, process, options, rules));
    if (process.anew !== null) return steps;
    steps.push(...(await streamSteps(state, process, options, rules)));
    steps.push(...chunkSteps(state, process, options));
  }
  return steps;
}

/**
 * The process dies and is started again. That is one step: whatever the source does in between it can
 * as well do before. Without a checkpoint nothing was begun, and a slot that is there is made anew.
 *
 * A chunk that is on its way to the store may be durable by then or not. The process does not outlive
 * the source's end, for its connections do not.
 */
function* crashes(state: State, options: Handover): Generator<Step<State>> {
  const { sent, half } = state.process;
  const { meanwhile } = options.scenario;
  const isUnflushed = state.flushed < state.log.length;
  const isSourceToo = meanwhile === "the source crashes" && state.store.isBegun && isUnflushed;
  const outcomes: [words: string, state: State][] = [["", state]];
  if (sent !== null && half === null) {
    const words = ", behind the chunk that was on its way";
    outcomes.push([words, durable(state, sent, options)]);
  }
  for (const [words, outcome] of outcomes) {
    yield crash(outcome, `CRASH${words}`);
    if (!isSourceToo) continue;
    const step = crash(withoutUnflushed(outcome), `CRASH OF THE SOURCE${words}`);
    yield options.fault === "chunk outlives the source" ? withChunk(step, outcome, options) : step;
  }
}

function crash(state: State, words: string): Step<State> {
  const mishapsLeft = state.mishapsLeft - 1;
  const { checkpoint } = state.store;
  if (checkpoint === null) {
    const name = `${words}; the process starts again, without a checkpoint`;
    return { name, next: { ...state, mishapsLeft, slot: null, process: started(0) } };
  }
  const position = Math.max(checkpoint, states.confirmedOf(state));
  const name = `${words}; the process starts again at ${position} of the log`;
  return { name, next: { ...state, mishapsLeft, process: started(position) } };
}

/** With what was read of it before. */
function withChunk(step: Step<State>, before: State, { scenario }: Handover): Step<State> {
  const { chunk } = before.process;
  if (chunk === null || chunk.to === null) return step;
  const rows = [...states.rowsSeen(before, chunk.seen!, scenario)];
  const process = { ...step.next.process, chunk: { ...chunk, rows } };
  return { name: step.name, next: { ...step.next, process } };
}

/** Let the next transaction in, or write those that are. */
async function streamSteps(
  state: State,
  process: Process,
  options: Handover,
  rules: Rules,
): Promise<readonly Step<State>[]> {
  const { fault } = options;
  const { written, position } = process;
  const steps: Step<State>[] = [];
  // Nobody is told of what may yet be taken back.
  if (position < state.flushed && position - written < BATCH_MAX) {
    const step = await admitNext(state, process, options, rules);
    if (step !== undefined) steps.push(step);
  }
  if (position === written) return steps;
  if (fault === "checkpoint before append") {
    const store = { ...state.store, checkpoint: position };
    const next = { ...state, store, process: { ...process, half: "batch" as const } };
    const name = `checkpoint ${position} is durable, without the events before it`;
    return [...steps, { name, next }];
  }
  if (fault === "acknowledge before append" && states.confirmedOf(state) < position) {
    const next = { ...state, slot: { confirmed: position } };
    steps.push({ name: `${position} is acknowledged`, next });
  }
  steps.push(await writeBatch(state, process, options, rules));
  return steps;
}
