import type { Step } from "./explore.ts";
import { durable } from "./handover-chunks.ts";
import type { Handover } from "./handover-model.ts";
import { isJoining, LAST_KEY } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import { started, type State } from "./handover-state.ts";

/** The publication, then the slot, then the checkpoint at which the log begins. */
export function* beginSteps(state: State, options: Handover): Generator<Step<State>> {
  const { slot, published } = state;
  if (isJoining(options.scenario)) {
    yield* joinSteps(state, options);
    return;
  }
  const isSlotFirst = options.fault === "slot before publication";
  if (!published && (!isSlotFirst || (slot !== null && "confirmed" in slot))) {
    yield { name: "the publication is made", next: { ...state, published: true } };
  } else if (slot === null) {
    const waitsFor = states.inProgress(state);
    const list = waitsFor.length === 0 ? "nothing" : states.names(waitsFor);
    yield {
      name: `the slot is asked for, waits for ${list}`,
      next: { ...state, slot: { waitsFor } },
    };
  } else if ("waitsFor" in slot) {
    if (slot.waitsFor.length > 0) return;
    const confirmed = state.log.length;
    // What the log will not tell: every snapshot from now on has to see it.
    const unseen = state.log.filter((t) => state.status[t] !== "visible").sort(states.ascending);
    const waitsFor = options.fault === "no wait at the start" ? [] : unseen;
    const name = `the slot is there: the log is retained from ${confirmed} on`;
    const process = { ...started(confirmed), waitsFor };
    // The server flushes its log for that.
    yield { name, next: { ...state, flushed: confirmed, slot: { confirmed }, process } };
  } else if (state.process.waitsFor!.length === 0) {
    if (options.baseline === "exported") yield exportedBaseline(state, slot.confirmed, options);
    else {
      const store = { ...state.store, checkpoint: slot.confirmed, isBegun: true };
      const process = started(slot.confirmed);
      const name = `checkpoint ${slot.confirmed} is durable`;
      yield { name, next: { ...state, store, process } };
    }
  }
}

/** Of a table that joins, the log tells from its publication on. */
function* joinSteps(state: State, { fault }: Handover): Generator<Step<State>> {
  const { published, process } = state;
  if (!published) {
    yield { name: "the table that joins is published", next: { ...state, published: true } };
  } else if (process.waitsFor === null) {
    const waitsFor = fault === "no wait for what began before" ? [] : states.inProgress(state);
    const name = `what is in progress is waited for: ${states.names(waitsFor)}`;
    yield { name, next: { ...state, process: { ...process, waitsFor } } };
  } else if (process.waitsFor.length === 0) {
    const store = { ...state.store, isBegun: true };
    const next = { ...state, store, process: started(state.store.checkpoint!) };
    yield { name: "it is durable that the table joins in chunks", next };
  }
}

/** The exported snapshot sees exactly what lies before the slot in the log, whatever is visible. */
function exportedBaseline(state: State, checkpoint: number, options: Handover): Step<State> {
  const seen = state.log.slice(0, checkpoint).sort(states.ascending);
  const whole = durable(state, { seen, fence: checkpoint, to: LAST_KEY }, options);
  const store = { ...whole.store, checkpoint, isBegun: true };
  const next = { ...state, store, process: started(checkpoint) };
  return { name: `the baseline as of ${checkpoint} and that checkpoint are durable`, next };
}
