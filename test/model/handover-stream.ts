import type { Step } from "./explore.ts";
import type { Handover } from "./handover-model.ts";
import { transactionOf, type Logged, type Rules } from "./handover-rules.ts";
import { ROOT, type ModelChange, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Cells, Image, ModelEvent, Process, State } from "./handover-state.ts";
import { assertComplete, isWhole } from "../../src/mapping/row-images.ts";
import type { Change, RowChange } from "../../src/model/change.ts";
import type { SettledChanges } from "../../src/pipeline/settle-changes.ts";

export interface Written {
  readonly store: State["store"];
  readonly words: readonly string[];
}

/**
 * The next transaction of the log is let into the batch, which has to be certain of what becomes of its
 * changes.
 *
 * @returns undefined while it waits: for a chunk that is being read, or for a transaction that is to be
 *   left out and that a snapshot may not see yet
 */
export async function admitNext(
  state: State,
  process: Process,
  { scenario }: Handover,
  rules: Rules,
): Promise<Step<State> | undefined> {
  const { position } = process;
  const transaction = state.log[position]!;
  const logged = loggedAt(state, position, scenario, rules);
  const isVisible = state.status[transaction] === "visible";
  if (!(await rules.admits(state, process, logged, isVisible))) return undefined;
  const next = { ...state, process: { ...process, position: position + 1 } };
  return { name: `T${transaction + 1} is read from the log and let into the batch`, next };
}

/** The batch is written: events, images and checkpoint are one store transaction. */
export async function writeBatch(
  state: State,
  process: Process,
  options: Handover,
  rules: Rules,
): Promise<Step<State>> {
  const { position } = process;
  const how = rules.batchOf(state, process);
  const made = await rules.batches.once(state.store, how, () =>
    storeAfter(state, process, options, rules),
  );
  if (typeof made === "string") {
    const failed = { ...state, process: { ...process, failed: made } };
    return { name: "the batch is written", next: failed };
  }
  const { store, words } = made;
  const list = words.length === 0 ? "nothing told" : `told: ${words.join(", ")}`;
  const next = { ...state, store, process: { ...process, written: position, half: null } };
  return { name: `the batch and checkpoint ${position} are durable; ${list}`, next };
}

/** @returns the store behind a batch, and what is told in words; why there is none, otherwise */
async function storeAfter(
  state: State,
  process: Process,
  { scenario, fault }: Handover,
  rules: Rules,
): Promise<Written | string> {
  const { written, position } = process;
  const places = Array.from({ length: position - written }, (_, i) => written + i);
  const batch = places.map((at) => loggedAt(state, at, scenario, rules));
  const settled = await rules.settle(state, process, batch, state.store.images);
  if (settled instanceof Error) return `the batch cannot be written: ${settled.message}`;
  const events = state.store.events.map((list) => [...list]);
  const words: string[] = [];
  const kept = new Set<string>();
  for (const [n, at] of places.entries()) {
    const by = state.log[at]!;
    const told = new Map<number, Cells>();
    for (const change of settled.changes[n]!) {
      const wrong = incomplete(change, () => oldOf(state, at, scenario, rules));
      if (wrong !== undefined) return `T${by + 1}: ${wrong}`;
      const { before, after, table } = change as RowChange;
      const left = before === undefined ? undefined : rules.tables.rowOf(table.name, before);
      const joined = after === undefined ? undefined : rules.tables.rowOf(table.name, after);
      const { row } = (left ?? joined)!;
      const isMove = scenario.transactions[by]!.changes.some(
        (one) => one.row === row && one.from !== undefined && one.to !== undefined,
      );
      if (fault === "former root ignored" && isMove && joined === undefined) continue;
      if (joined !== undefined) kept.add(states.imageName(row, joined.key));
      if (left !== undefined && left.key !== joined?.key) {
        told.set(left.key, { ...told.get(left.key), [row]: null });
        words.push(`${row} gone from ${left.key} by T${by + 1}`);
      }
      if (joined !== undefined) {
        told.set(joined.key, { ...told.get(joined.key), [row]: joined.value });
        words.push(`${row} now in ${joined.key} by T${by + 1}`);
      }
    }
    for (const [key, cells] of told) {
      const event: ModelEvent = { kind: "change", by, cells: states.sorted(cells) };
      events[key]!.push(event);
    }
  }
  const mayKeep = (name: string): boolean =>
    fault !== "image of what is held not kept" || kept.has(name);
  const images = imagesAfter(state, settled, rules, mayKeep);
  const store = { ...state.store, events, images, checkpoint: position };
  return { store, words };
}

/** Why a change that is told would be parked, or tell of a row before it that never was. */
function incomplete(change: Change, values: () => ReadonlyMap<string, number>): string | undefined {
  if (change.kind === "truncate") return "nobody truncates";
  try {
    assertComplete(change);
  } catch (error) {
    return (error as Error).message;
  }
  const { kind, before, table } = change;
  if (kind === "insert" || !isWhole(before)) return undefined;
  const was = values().get(`${table.relation} ${before!.slice(0, -1).join(" ")}`);
  const told = Number(before!.at(-1));
  if (was === told) return undefined;
  return `a row of ${table.relation} is told to have been ${told}, but it was ${was ?? "not there"}`;
}

/** Values of the rows before a transaction, by table and key. */
function oldOf(
  { log }: State,
  at: number,
  scenario: Scenario,
  { tables }: Rules,
): ReadonlyMap<string, number> {
  const before = states.rowsAfter(scenario, log.slice(0, at), () => true);
  const values = new Map<string, number>();
  for (const [key, cells] of before) {
    for (const [row, value] of Object.entries(cells)) {
      const { table, after } = tables.logged({ row, to: key }, 0, 0);
      values.set(`${table.relation} ${after!.slice(0, -1).join(" ")}`, value!);
    }
  }
  return values;
}

function imagesAfter(
  { store }: State,
  settled: SettledChanges,
  { tables }: Rules,
  mayKeep: (name: string) => boolean,
): states.Images {
  const images: Record<string, Image> = { ...store.images };
  for (const { table, key, image } of settled.images) {
    const name = tables.imageName(table, key);
    if (image === undefined) delete images[name];
    else if (mayKeep(name)) images[name] = tables.imageOf(table, image);
  }
  return states.sorted(images);
}

/** A transaction as the log tells it: without changes from before there was a publication. */
function loggedAt(state: State, at: number, scenario: Scenario, { tables }: Rules): Logged {
  const by = state.log[at]!;
  const isSent = ({ row }: ModelChange): boolean =>
    !state.unsent.includes(by) || !states.isChunked(row, scenario);
  return {
    transaction: transactionOf(state.ids[by]!, at),
    changes: () => {
      const before = states.rowsAfter(scenario, state.log.slice(0, at), () => true);
      return scenario.transactions[by]!.changes.filter(isSent).map((change) => {
        const old = change.from === undefined ? 0 : before.get(change.from)?.[change.row];
        return tables.logged(change, by, old!);
      });
    },
  };
}

/** A root that is there from the first, where a table joins, was told before. */
export function toldBefore(scenario: Scenario): Pick<State["store"], "events" | "images"> {
  const events: ModelEvent[][] = Array.from({ length: 4 }, () => []);
  const images: Record<string, Image> = {};
  if (states.isChunked(ROOT, scenario)) return { events, images };
  for (const [row, key] of scenario.rows) {
    if (row !== ROOT) continue;
    events[key]!.push({ kind: "baseline", cells: { [row]: 0 } });
    if (scenario.identity === "default") images[states.imageName(row, key)] = [key, 0];
  }
  return { events, images };
}
