import { setTimeout as sleep } from "node:timers/promises";
import type { Committed } from "./chunk-frontier.ts";
import type { Frontiers } from "./frontiers.ts";
import { rootKey } from "./settle-changes.ts";
import type { Mapping } from "../mapping/compile.ts";
import { isWhole } from "../mapping/row-images.ts";
import type { Change } from "../model/change.ts";
import type { Cells } from "../model/table.ts";
import type { ChangeSource } from "../source/change-source.ts";

/** Between two looks at whether a transaction that is in the log can be seen by now. */
const LOOK_MS = 5;

type Need = "nothing" | "visible" | "chunk";

/**
 * Lets transactions pass on their way from the log to the writer as soon as it is certain what becomes
 * of their changes while a baseline goes on in chunks.
 *
 * A transaction that touches what is being read, and that the snapshot does not see, waits until that
 * chunk is durable. One that touches what has yet to be read is left out, so it waits until it is
 * visible in the source: the log may tell of a commit before the source shows it to others, and a
 * snapshot of just then would miss it.
 */
export class ChunkGate {
  readonly #mapping: Mapping;
  readonly #frontiers: Frontiers;
  readonly #source: Pick<ChangeSource, "seenNow" | "visibility">;
  #isVisible: (transaction: string) => boolean = () => false;
  #holds = 0;

  constructor(
    mapping: Mapping,
    frontiers: Frontiers,
    source: Pick<ChangeSource, "seenNow" | "visibility">,
  ) {
    this.#mapping = mapping;
    this.#frontiers = frontiers;
    this.#source = source;
  }

  /** Whether no chunk may be opened now. */
  get isHeld(): boolean {
    return this.#holds > 0;
  }

  /**
   * @param settle called before it waits: makes durable what is begun, so that a chunk can be written
   * @returns false when the signal aborted first
   */
  async admit(
    transaction: Committed,
    changes: readonly Change[],
    settle: () => Promise<void>,
    signal: AbortSignal,
  ): Promise<boolean> {
    if (!this.#frontiers.isActive) return true;
    while (!signal.aborted) {
      const need = this.#needOf(transaction, changes);
      if (need === "nothing") return true;
      // Whatever is opened from then on sees it as well; then all is judged anew.
      if (need === "visible") await this.#becomeVisible(transaction, signal);
      else {
        await settle();
        if (this.#needOf(transaction, changes) === "chunk") await this.#frontiers.changed(signal);
      }
    }
    return false;
  }

  /**
   * Waits until no chunk is being read or written, and lets none be opened: for a transaction that is
   * staged in parts and cannot wait in its midst.
   *
   * @returns lets chunks be opened again; undefined when the signal aborted first
   */
  async hold(transaction: Committed, signal: AbortSignal): Promise<(() => void) | undefined> {
    this.#holds += 1;
    let isOver = false;
    const release = (): void => {
      if (isOver) return;
      isOver = true;
      this.#holds -= 1;
      this.#frontiers.notify();
    };
    try {
      while (this.#frontiers.isBusy && !signal.aborted) await this.#frontiers.changed(signal);
      if (this.#frontiers.isActive) await this.#becomeVisible(transaction, signal);
    } catch (error) {
      release();
      throw error;
    }
    if (!signal.aborted) return release;
    release();
    return undefined;
  }

  /** Resolves also when the signal aborts. */
  async #becomeVisible({ id }: Committed, signal: AbortSignal): Promise<void> {
    for (let isFirst = true; !this.#isVisible(id) && !signal.aborted; isFirst = false) {
      if (!isFirst) await sleep(LOOK_MS);
      this.#isVisible = this.#source.visibility(await this.#source.seenNow());
    }
  }

  #needOf(transaction: Committed, changes: readonly Change[]): Need {
    let isUnread = false;
    for (const change of changes) {
      const need = this.#needOfChange(transaction, change);
      if (need === "chunk") return need;
      if (need === "visible") isUnread = true;
    }
    return isUnread && !this.#isVisible(transaction.id) ? "visible" : "nothing";
  }

  #needOfChange(transaction: Committed, change: Change): Need {
    const { name } = change.table;
    const frontier = this.#frontiers.of(this.#mapping.streamOfTable(name)?.type, name);
    if (frontier === undefined) return "nothing";
    const mapper = this.#mapping.mapperOf(change.table);
    const isUnclear =
      mapper === undefined ||
      change.kind === "truncate" ||
      // Of a table that promises whole old rows too: a partition made since may not.
      (change.kind !== "insert" && !isWhole(change.before));
    if (isUnclear) return frontier.mayWait(transaction) ? "chunk" : "visible";
    let need: Need = "nothing";
    for (const cells of [change.before, change.after]) {
      if (cells === undefined) continue;
      const full = completed(cells, change.before);
      const streamOf = (): string => mapper.streamIdOf(full);
      const verdict = frontier.verdict(transaction, rootKey(mapper, full), streamOf);
      if (verdict === "waits") return "chunk";
      if (verdict === "unread") need = "visible";
    }
    return need;
  }
}

/** A key may be among the values that the log does not repeat. */
function completed(cells: Cells, before: Cells | undefined): Cells {
  return cells.includes(undefined) && before !== undefined
    ? cells.map((cell, i) => (cell === undefined ? before[i] : cell))
    : cells;
}
