import type { Step } from "./explore.ts";
import { conflict, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { State, Status } from "./handover-state.ts";

/** A transaction begins and writes, its commit gets into the log, and later it becomes visible. */
export function* sourceSteps(state: State, scenario: Scenario): Generator<Step<State>> {
  const { transactions, meanwhile } = scenario;
  const isFlushedLater = meanwhile === "the source crashes";
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
        const unsent = state.published ? state.unsent : [...state.unsent, t].sort(states.ascending);
        const ids = isFlushedLater ? state.ids.with(t, nextId(state)) : state.ids;
        yield { name: `${name} begins and writes`, next: become("open", { unsent, ids }) };
        break;
      }
      case "open":
        if (transaction.rollsBack === true) {
          yield { name: `${name} rolls back`, next: become("rolled back") };
        } else {
          const log = [...state.log, t];
          const flushed = isFlushedLater ? state.flushed : log.length;
          yield {
            name: `${name}'s commit is in the log`,
            next: become("logged", { log, flushed }),
          };
        }
        break;
      case "logged":
        yield { name: `${name} becomes visible`, next: become("visible") };
        break;
      case "visible":
      case "rolled back":
      case "gone":
    }
  }
  if (state.flushed < state.log.length) {
    const flushed = state.log.length;
    yield { name: `the log is flushed up to ${flushed}`, next: { ...state, flushed } };
  }
}

/** One that a crash took back left no trace of its id. */
function nextId({ ids, status }: State): number {
  return 1 + Math.max(0, ...ids.filter((_, t) => status[t] !== "idle" && status[t] !== "gone"));
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
    process: {
      ...process,
      waitsFor: process.waitsFor === null ? null : without(process.waitsFor),
    },
  };
}

/**
 * The source dies and is started again: what of the log it had not flushed is gone, and so is whatever
 * was open. What it had flushed is visible.
 */
export function withoutUnflushed(state: State): State {
  const log = state.log.slice(0, state.flushed);
  const status = state.status.map((one, t): Status => {
    if (one === "idle" || one === "rolled back") return one;
    return log.includes(t) ? "visible" : "gone";
  });
  return { ...state, log, status, unsent: state.unsent.filter((t) => log.includes(t)) };
}
