import { ask } from "../support/crash-store.ts";
import { SHOP_TABLES } from "../support/crash-telling.ts";

/** A committed transaction of the source, as the server's own plugin test_decoding tells it. */
export interface WitnessedTransaction {
  readonly xid: string;
  /** Which rows it changed, in the order of the log, each as often as it did. */
  readonly places: readonly string[];
  /** When it was committed, in microseconds. */
  readonly committedUs: string;
}

interface Line {
  readonly lsn: string;
  readonly xid: string;
  /** Empty for a commit. */
  readonly line: string;
  readonly committedUs: string | null;
}

const SLOT = "chaos_witness";
/** A look ends after the transaction with which it has so many lines. */
const LINES_PER_LOOK = 20_000;
const LOOKS_MAX = 1_000;
/** Keys stand at the beginning of a row. */
const LINE_LENGTH = 400;
const LOOK = `
  SELECT lsn::text, xid::text, CASE WHEN data LIKE 'table %' THEN left(data, ${LINE_LENGTH}) ELSE '' END AS line,
         (extract(epoch FROM substring(data FROM '^COMMIT \\(at (.*)\\)$')::timestamptz) * 1000000)::bigint::text AS "committedUs"
    FROM pg_logical_slot_peek_changes('${SLOT}', NULL, ${LINES_PER_LOOK}, 'include-xids', '0', 'skip-empty-xacts', '1',
           'include-timestamp', '1')
   WHERE data LIKE 'table public.%' OR data LIKE 'COMMIT%'`;

/**
 * Reads the source's log through a slot of its own with another plugin than the capture's: in which
 * order transactions were committed, and in which order each changed its rows. Triggers cannot know that.
 */
export class Witness {
  readonly #url: string;
  readonly #seen = new Set<string>();
  readonly transactions: WitnessedTransaction[] = [];

  private constructor(url: string) {
    this.#url = url;
  }

  /** What is committed from now on is witnessed. */
  static async open(url: string): Promise<Witness> {
    await ask(url, `SELECT pg_create_logical_replication_slot('${SLOT}', 'test_decoding')`);
    return new Witness(url);
  }

  /** Reads what has been committed since, so that the server need not keep it. Crashes in between repeat lines, which is seen. */
  async look(): Promise<void> {
    for (let look = 0; look < LOOKS_MAX; look++) {
      const lines = await ask<Line>(this.#url, LOOK);
      let places: string[] = [];
      for (const { xid, line, committedUs } of lines) {
        if (line !== "") {
          places.push(placeIn(line));
          continue;
        }
        if (!this.#seen.has(xid) && places.length > 0)
          this.transactions.push({ xid, places, committedUs: committedUs! });
        this.#seen.add(xid);
        places = [];
      }
      const end = lines.at(-1)?.lsn;
      if (end === undefined) return;
      await ask(this.#url, `SELECT pg_replication_slot_advance('${SLOT}', $1)`, [end]);
    }
    throw new Error("the source commits faster than the witness reads");
  }
}

/** The row that a line of test_decoding is about, as it was before when its key changed; all rows for a TRUNCATE. */
export function placeIn(line: string): string {
  const relation = /^table public\.(\w+): /.exec(line)?.[1] ?? "";
  const table = SHOP_TABLES[relation];
  if (table === undefined) throw new Error(`the witness does not know the table of: ${line}`);
  if (line.includes(": TRUNCATE:")) return everyPlace(relation);
  const key = table.key.map((column) => {
    const value = new RegExp(`(?: )${column}\\[[^\\]]+\\]:('(?:[^']|'')*'|\\S+)`).exec(line)?.[1];
    if (value === undefined) throw new Error(`the witness finds no ${column} in: ${line}`);
    return value.replace(/^'(.*)'$/, "$1").replaceAll("''", "'");
  });
  return `${relation} ${key.join(", ")}`;
}

export function everyPlace(relation: string): string {
  return `${relation} *`;
}
