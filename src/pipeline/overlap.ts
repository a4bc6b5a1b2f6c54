import type { TransactionPart } from "../model/change.ts";
import type { CapturedTable } from "../store/event-store.ts";

type Visibility = (seen: string) => (transaction: string) => boolean;

interface LateTable {
  readonly sees: (transaction: string) => boolean;
  /** Commits from here on are not in its baseline. 16 hexadecimal digits. */
  readonly until: string;
}

/**
 * The stretch of the log that lies before the baseline of a table which joined late: what that baseline
 * holds is told there a second time, and left out.
 *
 * Which transactions those are, only the snapshot of the baseline knows. A place in the log would not
 * do: a transaction can be in the log and not yet be seen.
 */
export class Overlap {
  readonly #late = new Map<string, LateTable>();

  /** @param visibility `ChangeSource.visibility` */
  constructor(tables: readonly CapturedTable[], visibility: Visibility) {
    for (const { table, seen, since, left } of tables) {
      if (seen === undefined || left !== undefined) continue;
      this.#late.set(table, { sees: visibility(seen), until: since.slice(0, 16) });
    }
  }

  /** The part without what a baseline holds already; the same object when that is all of it. */
  without(part: TransactionPart): TransactionPart {
    if (this.#late.size === 0) return part;
    const { id, commit } = part.transaction;
    const held = new Set<string>();
    for (const [table, { sees, until }] of this.#late) {
      // Transactions come in the order of their commits: the overlap of this table is over.
      if (commit >= until) this.#late.delete(table);
      else if (sees(id)) held.add(table);
    }
    if (held.size === 0) return part;
    return { ...part, changes: part.changes.filter(({ table }) => !held.has(table.name)) };
  }
}
