import type { PlayedTransaction } from "./history.ts";
import { transactionOf, type MadeEvent } from "./map-history.ts";
import type { Trial, Violation } from "./trial.ts";
import type { RowChange } from "../model/change.ts";
import { changePosition } from "../model/position.ts";
import type { Cells, SourceTable } from "../model/table.ts";

/** Whether a cell may be shown: one that only a real row has is shown when it was asked for. */
export type MayShow = (table: string, column: number, cell: string) => boolean;

const COLUMNS_SHOWN_MAX = 14;
const TEXT_SHOWN_MAX = 60;
const DATA_SHOWN_MAX = 300;

/** Tells a history that breaks a law: what was done, what it became, and what is wrong with that. */
export function tellStory(
  {
    played,
    events,
    violation,
  }: Trial & { readonly played: readonly PlayedTransaction[]; readonly violation: Violation },
  mayShow: MayShow,
): readonly string[] {
  const upToIt = played.slice(0, violation.at + 1);
  const teller = new Teller(mayShow, relevantColumns(upToIt, violation));
  const lines: string[] = [];
  for (const [at, { changes }] of upToIt.entries()) {
    for (const change of changes) {
      const isFault = violation.change === change;
      lines.push(`${lines.length === 0 ? "first" : "then"} ${teller.change(change, isFault)}`);
      const position = changePosition(transactionOf(at).commit, change.ordinal);
      // Two tellings show the events themselves.
      const made = isFault && violation.told !== undefined ? [] : events[at];
      for (const event of (made ?? []).filter((one) => one.position === position)) {
        const isWhole = isFault || (violation.change === undefined && at === violation.at);
        lines.push(`  becomes ${teller.event(event, isWhole)}`);
      }
      if (isFault) lines.push(...teller.wrong(violation));
    }
  }
  if (violation.change === undefined) lines.push(...teller.wrong(violation));
  if (teller.hidden) lines.push("values of real rows are not shown; --show-values shows them");
  return lines;
}

/** Whether telling it needs a value that may not be shown. */
export function hidesValues(played: readonly PlayedTransaction[], mayShow: MayShow): boolean {
  return played.some(({ changes }) =>
    changes.some(({ table, before, after }) =>
      [before, after].some((cells) =>
        cells?.some(
          (cell, column) => typeof cell === "string" && !mayShow(table.name, column, cell),
        ),
      ),
    ),
  );
}

/** By table: what identifies a row, what changes, what parts. Undefined where a function may look at all of it. */
function relevantColumns(
  played: readonly PlayedTransaction[],
  { blame, told, table: at, column, difference }: Violation,
): ReadonlyMap<string, ReadonlySet<number> | undefined> {
  const relevant = new Map<string, Set<number> | undefined>();
  for (const { table, before, after } of played.flatMap(({ changes }) => changes)) {
    const columns = relevant.get(table.name) ?? new Set(table.key);
    if (before !== undefined && after !== undefined) {
      for (const [i, cell] of before.entries()) if (cell !== after[i]) columns.add(i);
    }
    const names = [column, ...(difference?.columns ?? []).map((each) => each.column)];
    if (table.name === at) {
      for (const [i, { name }] of table.columns.entries()) if (names.includes(name)) columns.add(i);
    }
    relevant.set(table.name, columns);
  }
  if (blame !== undefined || told !== undefined) relevant.set(at, undefined);
  return relevant;
}

class Teller {
  readonly #mayShow: MayShow;
  readonly #relevant: ReadonlyMap<string, ReadonlySet<number> | undefined>;
  /** Set by the first value that was not shown. From then on no event's data is shown either. */
  hidden = false;

  constructor(mayShow: MayShow, relevant: ReadonlyMap<string, ReadonlySet<number> | undefined>) {
    this.#mayShow = mayShow;
    this.#relevant = relevant;
  }

  change({ kind, table, before, after }: RowChange, isFault: boolean): string {
    const some = isFault ? undefined : this.#relevant.get(table.name);
    const all = table.columns.map((_, column) => column);
    switch (kind) {
      case "insert":
        return `INSERT into ${table.name}: ${this.#cells(
          table,
          after!,
          all.filter((column) => some?.has(column) ?? true),
        )}`;
      case "delete":
        return `DELETE from ${table.name}: ${this.#cells(table, before!, isFault ? all : table.key)}`;
      case "update": {
        const changed = all.flatMap((column) =>
          before![column] === after![column]
            ? []
            : [
                `${table.columns[column]!.name} ${this.#cell(table, column, before![column])} → ${this.#cell(table, column, after![column])}`,
              ],
        );
        const what = changed.length === 0 ? "nothing changes" : changed.join(", ");
        return `UPDATE ${table.name} where ${this.#cells(table, before!, table.key)}: ${what}`;
      }
    }
  }

  /** @param isWhole with its data */
  event({ type, stream, data }: MadeEvent, isWhole: boolean): string {
    if (this.hidden) return type;
    return isWhole ? `${type} of ${stream} ${cut(data, DATA_SHOWN_MAX)}` : `${type} of ${stream}`;
  }

  wrong(violation: Violation): readonly string[] {
    const { blame, difference, told, reason } = violation;
    if (told !== undefined) {
      const { once, again } = told;
      // Where what is told is alike, when it happened or its id is not.
      const isAlike = once?.data === again?.data && once?.type === again?.type;
      const text = (event: MadeEvent | undefined): string =>
        event === undefined
          ? "no event"
          : this.event(event, true) + (isAlike ? `, id ${event.id}, at ${momentOf(event)}` : "");
      return [`  once: ${text(once)}`, `  again: ${text(again)}`];
    }
    if (difference !== undefined) return this.#parts(difference, violation);
    if (blame === undefined) return [`  ${this.hidden ? "it cannot be told" : reason}`];
    const lines: string[] = [];
    if (blame.made !== undefined && !this.hidden) {
      lines.push(`  "to" of ${blame.rule} makes ${cut(blame.made, DATA_SHOWN_MAX)}`);
    }
    if (blame.back !== undefined && !this.hidden) {
      lines.push(`  "from" of ${blame.rule} makes of that ${cut(blame.back, DATA_SHOWN_MAX)}`);
    }
    if (blame.column !== undefined && violation.change !== undefined) {
      lines.push(this.#columnApart(blame.column, violation.change, blame.back));
    }
    lines.push("  so this change would wait in quarantine, and its stream with it");
    return lines;
  }

  #columnApart(name: string, { table, after }: RowChange, back: string | undefined): string {
    const column = table.columns.findIndex((each) => each.name === name);
    const row = this.#cell(table, column, after?.[column]);
    if (back === undefined || this.hidden) return `  the row has ${name} ${row}`;
    const given = (JSON.parse(back) as Record<string, unknown>)[name];
    const fold =
      given === undefined
        ? "nothing"
        : typeof given === "string"
          ? shown(given)
          : JSON.stringify(given);
    return `  the row has ${name} ${row}, the fold would give ${fold}`;
  }

  #parts(
    { columns, row, fold }: NonNullable<Violation["difference"]>,
    { reason }: Violation,
  ): readonly string[] {
    if (row === undefined || fold === undefined || this.hidden) return [`  ${reason}`];
    return columns.map(
      ({ column, row: has, fold: gives }) =>
        `  the row has ${column} ${shown(has)}, the fold gives ${shown(gives)}`,
    );
  }

  #cells(table: SourceTable, cells: Cells, columns: readonly number[]): string {
    const texts = columns
      .slice(0, COLUMNS_SHOWN_MAX)
      .map(
        (column) => `${table.columns[column]!.name} ${this.#cell(table, column, cells[column])}`,
      );
    const more = columns === table.key ? 0 : table.columns.length - texts.length;
    return texts.join(", ") + (more === 0 ? "" : ` and ${more} more`);
  }

  #cell(table: SourceTable, column: number, cell: string | null | undefined): string {
    if (typeof cell !== "string" || this.#mayShow(table.name, column, cell)) return shown(cell);
    this.hidden = true;
    return `(a text of ${cell.length})`;
  }
}

/** A plain word as it is, else quoted as in SQL; in JSON's way where it holds what a terminal would not show. */
function shown(cell: string | null | undefined): string {
  if (cell === null || cell === undefined) return "NULL";
  const text = cut(cell, TEXT_SHOWN_MAX);
  if (/^[\w.:+\-@/]+$/.test(text)) return text;
  const isPrintable = !/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u.test(text);
  return isPrintable ? `'${text.replaceAll("'", "''")}'` : JSON.stringify(text);
}

function momentOf({ timeUs }: MadeEvent): string {
  return `${new Date(Math.floor(timeUs / 1000)).toISOString().slice(0, -1)}${String(timeUs % 1000).padStart(3, "0")}Z`;
}

function cut(text: string, lengthMax: number): string {
  return text.length <= lengthMax ? text : `${text.slice(0, lengthMax)}…`;
}
