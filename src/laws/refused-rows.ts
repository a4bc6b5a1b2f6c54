import type { History, PlayedTransaction } from "./history.ts";
import type { LawTable } from "./law-tables.ts";
import { simplerHistories, type PlainValues } from "./shrink-history.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** The constraint by which the database would refuse one of these rows. */
export type RefusedBy = (table: SourceTable, rows: readonly Cells[]) => Promise<string | undefined>;

/** After so long it is not asked any more: then no row counts as refused. */
const ASK_MS_MAX = 3_000;
/** Simpler histories that the database is asked about. */
const ASKED_MAX = 100;

/** Knows which rows the database would refuse, asking for each of them once. */
export class RefusedRows {
  readonly #tables: readonly LawTable[];
  readonly #ask: RefusedBy;
  readonly #known = new Map<string, string | undefined>();
  #askedMs = 0;

  constructor(tables: readonly LawTable[], ask: RefusedBy) {
    this.#tables = tables;
    this.#ask = ask;
  }

  /** The constraint that refuses a row of a history; undefined when none does. */
  async refusalOf(played: readonly PlayedTransaction[]): Promise<string | undefined> {
    const changes = played.flatMap((transaction) => transaction.changes);
    for (const { table } of this.#tables) {
      for (const change of changes) {
        if (change.table !== table || change.after === undefined) continue;
        const refused = await this.#refusal(table, change.after);
        if (refused !== undefined) return refused;
      }
    }
    return undefined;
  }

  /** Plainer values in a history, as long as it shows the same with rows that the database takes. */
  async simplify(
    history: History,
    shows: (simpler: History) => readonly PlayedTransaction[] | undefined,
    plain: PlainValues,
  ): Promise<History> {
    let simplest = history;
    let asked = 0;
    for (let grown = true; grown && asked < ASKED_MAX;) {
      grown = false;
      for (const simpler of simplerHistories(simplest, plain)) {
        const played = shows(simpler);
        if (played === undefined) continue;
        if (asked++ >= ASKED_MAX) break;
        if ((await this.refusalOf(played)) !== undefined) continue;
        simplest = simpler;
        grown = true;
        break;
      }
    }
    return simplest;
  }

  async #refusal(table: SourceTable, row: Cells): Promise<string | undefined> {
    const key = JSON.stringify([table.name, row]);
    if (!this.#known.has(key) && this.#askedMs < ASK_MS_MAX) {
      const begun = performance.now();
      this.#known.set(key, await this.#ask(table, [row]));
      this.#askedMs += performance.now() - begun;
    }
    return this.#known.get(key);
  }
}
