import type { Fault } from "./handover-fault.ts";
import { ModelTables, STREAM_TYPE } from "./handover-mapping.ts";
import { LAST_KEY, type Scenario } from "./handover-scenario.ts";
import * as states from "./handover-state.ts";
import type { Images, Process, Snapshot, State } from "./handover-state.ts";
import type { Written } from "./handover-stream.ts";
import type { Change, RowChange, SourceTransaction } from "../../src/model/change.ts";
import type { Position } from "../../src/model/position.ts";
import {
  ChunkFrontier,
  type Committed,
  type RangeChunk,
  type Verdict,
} from "../../src/pipeline/chunk-frontier.ts";
import { ChunkGate } from "../../src/pipeline/chunk-gate.ts";
import { Frontiers } from "../../src/pipeline/frontiers.ts";
import { isReadable } from "../../src/pipeline/rebaseline-pace.ts";
import { settleChanges, type SettledChanges } from "../../src/pipeline/settle-changes.ts";

const ORDER = ["integer"] as const;

/** A transaction of the log, and what that tells of it. */
export interface Logged {
  readonly transaction: SourceTransaction;
  readonly changes: () => RowChange[];
}

/**
 * The product's own rules, brought to where a state stands: what becomes of a change here is decided by
 * the code that decides in a pipeline.
 */
export class Rules {
  readonly tables: ModelTables;
  readonly batches = new states.MadeOf<Promise<Written | string>>();
  readonly #anew: string;
  readonly #fault: Fault | undefined;
  readonly #frontiers = new Map<string, Frontiers>();
  readonly #admitted = new Map<string, boolean>();
  readonly #settled = new Map<string, SettledChanges | Error>();

  constructor(scenario: Scenario, fault: Fault | undefined) {
    this.tables = new ModelTables(scenario);
    this.#anew = `${STREAM_TYPE}-${scenario.anew}`;
    this.#fault = fault;
  }

  /** Whether a transaction may pass, see {@link ChunkGate}. */
  async admits(state: State, process: Process, logged: Logged, isSeen: boolean): Promise<boolean> {
    const isVisible = isSeen || this.#fault === "left out before visible";
    const { position } = process;
    const question = `${this.#placeOf(state, process)} ${tellsOf(state)} ${position} ${isVisible}`;
    let answer = this.#admitted.get(question);
    if (answer !== undefined) return answer;
    const over = new AbortController();
    const giveUp = async (): Promise<void> => over.abort("it waits");
    const source = {
      seenNow: async () => {
        // It is asked once: what becomes visible later, another state has.
        if (!isVisible) over.abort("it waits");
        return "";
      },
      visibility: () => () => isVisible,
    };
    const gate = new ChunkGate(this.tables.mapping, this.#frontiersOf(state, process), source);
    answer = await gate.admit(logged.transaction, logged.changes(), giveUp, over.signal);
    this.#admitted.set(question, answer);
    return answer;
  }

  /** What is told of a batch, see {@link settleChanges}; or why that is not certain. */
  async settle(
    state: State,
    process: Process,
    batch: readonly Logged[],
    images: Images,
  ): Promise<SettledChanges | Error> {
    const question = `${this.batchOf(state, process)} ${JSON.stringify(images)}`;
    const known = this.#settled.get(question);
    if (known !== undefined) return known;
    const { mapping } = this.tables;
    const all = batch.map(({ transaction, changes }) => ({
      transaction,
      changes: changes() as Change[],
    }));
    const lookup = async (table: string, keys: readonly string[]) =>
      this.tables.lookUp(images, table, keys);
    const frontiers = this.#frontiersOf(state, process);
    const answer = await settleChanges(all, mapping, frontiers, lookup).catch(
      (error: unknown) => error as Error,
    );
    this.#settled.set(question, answer);
    return answer;
  }

  /** Whether there is anything by which changes are judged. */
  isActive(state: State, process: Process): boolean {
    return this.#frontiersOf(state, process).isActive;
  }

  /** Whether an aggregate may be read anew. */
  isReadable(state: State, process: Process): boolean {
    return isReadable(this.#frontiersOf(state, process), STREAM_TYPE);
  }

  #passed({ store }: State, process: Process): number {
    return this.#fault === "chunk forgotten too early" ? process.position : store.checkpoint!;
  }

  /** All that says what becomes of a batch, but for what the store has. */
  batchOf(state: State, process: Process): string {
    const { written, position } = process;
    return `${this.#placeOf(state, process)} ${tellsOf(state)} ${written} ${position}`;
  }

  #placeOf(state: State, process: Process): string {
    const { chunks, anew } = state.store;
    const { chunk, sent } = process;
    const reading = chunk === null ? "" : `${states.textOf(chunk)}:${chunk.until}`;
    const known = [...chunks, sent, anew].map((one) => (one === null ? "" : states.textOf(one)));
    return `${known.join(";")};${reading};${this.#passed(state, process)};${state.ids.join()}`;
  }

  #frontiersOf(state: State, process: Process): Frontiers {
    const place = this.#placeOf(state, process);
    let frontiers = this.#frontiers.get(place);
    if (frontiers === undefined)
      this.#frontiers.set(place, (frontiers = this.#made(state, process)));
    return frontiers;
  }

  #made(state: State, process: Process): Frontiers {
    const { anew } = state.store;
    const frontiers = new Frontiers();
    frontiers.set(STREAM_TYPE, this.#frontierOf(state, process), this.tables.joining);
    if (anew !== null) {
      const make = (): ChunkFrontier => new ChunkFrontier(ORDER, "all");
      frontiers.refreshed(STREAM_TYPE, this.#snapshot(anew, state), [this.#anew], make);
    }
    frontiers.passed(digits(this.#passed(state, process)));
    return frontiers;
  }

  /** Those of an earlier run are known from the first, the last chunk is as this one wrote it. */
  #frontierOf(state: State, { chunk, sent }: Process): ChunkFrontier {
    const { chunks } = state.store;
    const isDropped = this.#fault === "drop rule left out";
    const durable = chunks.map((one) => ({
      ...this.#snapshot(one, state),
      ...(isDropped ? { sees: () => false } : {}),
      end: endOf(one),
    }));
    const frontier = new FaultyFrontier(this.#fault, durable.slice(0, -1));
    const write = (one: RangeChunk): (() => void) => {
      // What was given up leaves nothing behind.
      frontier.opening();
      frontier.opened({ sees: () => true, fence: digits(LAST_KEY) });
      frontier.bounded(one.end);
      frontier.abandoned();
      frontier.opening();
      frontier.opened(one);
      frontier.bounded(one.end);
      return frontier.written();
    };
    const last = durable.at(-1);
    if (last !== undefined) write(last)();
    if (sent !== null) write({ ...this.#snapshot(sent, state), end: endOf(sent) });
    if (chunk === null) return frontier;
    // As if nothing were read yet.
    if (this.#fault === "end of chunk not awaited" && chunk.to === null) return frontier;
    frontier.opening();
    const { seen, fence, until = null, to } = chunk;
    if (seen === null || fence === null) return frontier;
    frontier.opened(this.#snapshot({ seen, fence }, state));
    for (const end of [until, to]) if (end !== null) frontier.bounded(endOf({ to: end }));
    return frontier;
  }

  #snapshot({ seen, fence }: Snapshot, { ids }: State) {
    const isSeen = new Set(seen.map((t) => String(ids[t])));
    const sees = (id: string): boolean => this.#fault === "drop by log position" || isSeen.has(id);
    return { sees, fence: digits(fence) };
  }
}

class FaultyFrontier extends ChunkFrontier {
  readonly #fault: Fault | undefined;

  constructor(fault: Fault | undefined, chunks: readonly RangeChunk[]) {
    super(ORDER, "none", chunks, () => true);
    this.#fault = fault;
  }

  override verdict(
    transaction: Committed,
    key: readonly (string | null)[],
    streamOf: () => string,
    isAdmitted?: boolean,
  ): Verdict {
    const isKnown = this.#fault === "judged anew when written" ? false : isAdmitted;
    const verdict = super.verdict(transaction, key, streamOf, isKnown);
    if (verdict !== "waits") return verdict;
    if (this.#fault === "stream not held back") return "told";
    if (this.#fault === "left out before visible" && isAdmitted === true) return "unread";
    return verdict;
  }

  override mayWait(transaction: Committed): boolean {
    return this.#fault !== "stream not held back" && super.mayWait(transaction);
  }
}

/** What the log tells at all. */
function tellsOf({ log, unsent }: State): string {
  return `${log.join()};${unsent.join()}`;
}

function endOf({ to }: { readonly to: number }): readonly string[] | undefined {
  return to === LAST_KEY ? undefined : [String(to)];
}

/** @param at its place in the log */
export function transactionOf(id: number, at: number): SourceTransaction {
  const end = `${digits(at + 1)}/00000000` as Position;
  return { id: String(id), commit: digits(at), end, committedAtUs: 0 };
}

function digits(place: number): string {
  return place.toString(16).toUpperCase().padStart(16, "0");
}
