import type { Step } from "./explore.ts";
import { committed, frontierOf } from "./handover-frontier.ts";
import type { Handover } from "./handover-model.ts";
import { ROOT, type ModelChange, type Scenario } from "./handover-scenario.ts";
import type { Verdict } from "../../src/pipeline/chunk-frontier.ts";
import * as states from "./handover-state.ts";
import type { Cells, ModelEvent, Process, State } from "./handover-state.ts";

/**
 * The next transaction of the log is let into the batch, which has to be certain of what becomes of its
 * changes: see src/pipeline/chunk-gate.ts.
 *
 * @returns undefined while it waits: for a chunk that is being read, or for a transaction that is to be
 *   left out and that a snapshot may not see yet
 */
export function admitNext(
  state: State,
  process: Process,
  { scenario, fault }: Handover,
): Step<State> | undefined {
  const { position } = process;
  const transaction = state.log[position]!;
  const frontier = frontierOf(state.store, process, fault);
  const facts = committed(transaction, position);
  let isUnread = false;
  for (const change of sentChanges(state, transaction, scenario)) {
    const verdicts = isUnclear(change, scenario)
      ? [frontier.mayWait(facts) ? "waits" : "unread"]
      : [change.from, change.to]
          .filter((key) => key !== undefined)
          .map((key) => frontier.verdict(facts, [String(key)], () => String(key)));
    if (verdicts.includes("waits") && fault !== "stream not held back") return undefined;
    if (verdicts.includes("unread")) isUnread = true;
  }
  const isVisible = state.status[transaction] === "visible" || fault === "left out before visible";
  if (isUnread && !isVisible) return undefined;
  const next = { ...state, process: { ...process, position: position + 1 } };
  return { name: `T${transaction + 1} is read from the log and let into the batch`, next };
}

/**
 * The batch is written: every change is told or left out, each of its sides for itself, and events,
 * images and checkpoint are one store transaction. See src/pipeline/settle-changes.ts.
 */
export function writeBatch(state: State, process: Process, options: Handover): Step<State> {
  const { scenario, fault } = options;
  const { position } = process;
  const frontier = frontierOf(state.store, process, fault);
  const events = state.store.events.map((list) => [...list]);
  const images: Record<string, number> = { ...state.store.images };
  const words: string[] = [];
  for (let at = process.written; at < position; at++) {
    const transaction = state.log[at]!;
    const told = new Map<number, Cells>();
    for (const change of sentChanges(state, transaction, scenario)) {
      const judge = (key: number): Verdict => {
        const isAdmitted = fault !== "judged anew when written";
        const facts = committed(transaction, at);
        const verdict = frontier.verdict(facts, [String(key)], () => String(key), isAdmitted);
        if (verdict === "waits" && fault === "stream not held back") return "told";
        if (verdict === "waits" && fault === "left out before visible") return "unread";
        return verdict;
      };
      const sides = settle(change, judge, images, options, transaction);
      if (sides === undefined) {
        const failed = `T${transaction + 1} is to be written while a chunk is awaited that may hold it`;
        return {
          name: "the batch is written",
          next: { ...state, process: { ...process, failed } },
        };
      }
      for (const [key, value] of sides) {
        told.set(key, { ...told.get(key), [change.row]: value });
        const what = value === null ? "gone from" : "now in";
        words.push(`${change.row} ${what} ${key} by T${transaction + 1}`);
      }
    }
    for (const [key, cells] of told) {
      const event: ModelEvent = { kind: "change", by: transaction, cells: states.sorted(cells) };
      events[key]!.push(event);
    }
  }
  const store = { ...state.store, events, images: states.sorted(images), checkpoint: position };
  const list = words.length === 0 ? "nothing told" : `told: ${words.join(", ")}`;
  const next = { ...state, store, process: { ...process, written: position, half: null } };
  return { name: `the batch and checkpoint ${position} are durable; ${list}`, next };
}

/** @returns the sides that are told; undefined when that is not certain */
function settle(
  { row, from, to }: ModelChange,
  judge: (key: number) => Verdict,
  images: Record<string, number>,
  { scenario, fault }: Handover,
  by: number,
): readonly (readonly [key: number, value: number | null])[] | undefined {
  const keepsImages = scenario.identity === "default" && row !== ROOT;
  const image = images[row];
  const place = from === undefined ? undefined : keepsImages ? image : from;
  const left = place === undefined ? "unread" : judge(place);
  const joined = to === undefined ? undefined : judge(to);
  if (left === "waits" || joined === "waits") return undefined;
  if (keepsImages) {
    const isHeld = joined === "held" && fault !== "image of what is held not kept";
    if (joined === "told" || isHeld) images[row] = to!;
    else if (joined !== "held" && from !== undefined) delete images[row];
  }
  const isRootIgnored = fault === "former root ignored" && joined !== undefined;
  const isLeft = (isRootIgnored ? joined : left) === "told";
  const told: [number, number | null][] = [];
  if (isLeft && place !== undefined && place !== to) told.push([place, null]);
  if (joined === "told") told.push([to!, by + 1]);
  return told;
}

/** What the log tells of it: nothing where there was no publication yet. */
function sentChanges(
  { unsent }: State,
  transaction: number,
  { transactions }: Scenario,
): readonly ModelChange[] {
  return unsent.includes(transaction) ? [] : transactions[transaction]!.changes;
}

function isUnclear({ from }: ModelChange, { identity }: Scenario): boolean {
  return identity === "default" && from !== undefined;
}
