import { ControlSession } from "./control-session.ts";
import { readLegacyTables, type LegacyColumn } from "./legacy-tables.ts";
import { sqlstateOf } from "./sqlstate.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { LegacyIds } from "../../src/reverse/legacy-ids.ts";

/** Rises by its increment, and does not begin anew at its end. */
const TAKE = `
  SELECT nextval($1::text::regclass)::text AS id
    FROM pg_sequence s, generate_series(1, $2) WHERE s.seqrelid = $1::text::regclass AND s.seqincrement > 0 AND NOT s.seqcycle`;

export function postgresLegacyIds(options: { readonly url: string }): LegacyIds {
  return new PostgresLegacyIds(options.url);
}

class PostgresLegacyIds implements LegacyIds {
  readonly #session: ControlSession;
  readonly #columns = new Map<string, LegacyColumn | undefined>();

  constructor(url: string) {
    this.#session = new ControlSession(url, "banyan id reservation");
  }

  async take(table: string, column: string, count: number): Promise<readonly string[] | undefined> {
    const { sequence = null, isInteger = false } = (await this.#columnOf(table, column)) ?? {};
    if (sequence === null || !isInteger) return undefined;
    try {
      const rows = await this.#session.query<{ id: string }>("taking ids", TAKE, [sequence, count]);
      return rows.length === 0 ? undefined : rows.map(({ id }) => id);
    } catch (error) {
      if (sqlstateOf(error) !== "42501") throw error;
      throw new BanyanError("REVERSE_NOT_READY", `no right to take ids from ${sequence}`, {
        cause: error,
        hint: `Run in the legacy database: GRANT USAGE, SELECT, UPDATE ON SEQUENCE ${sequence} TO the role of \`reverse\``,
      });
    }
  }

  async close(): Promise<void> {
    await this.#session.close();
  }

  async #columnOf(table: string, column: string): Promise<LegacyColumn | undefined> {
    const name = `${table}\0${column}`;
    if (!this.#columns.has(name)) {
      const ask = this.#session.query.bind(this.#session);
      const tables = await readLegacyTables(ask, [table]);
      this.#columns.set(name, tables.get(table)?.columns.get(column));
    }
    return this.#columns.get(name);
  }
}
