import type pg from "pg";
import type { Ask } from "./catalogue.ts";
import { ROOM_FIRST, ROWS_FIRST, writeRows, type Place, type WriteOrder } from "./legacy-rows.ts";
import { examineLegacy, prepareLegacy } from "./legacy-setup.ts";
import { readLegacyTables, type LegacyTable } from "./legacy-tables.ts";
import { takenBy, takenReason, type Taken } from "./legacy-taken.ts";
import { connect, disconnect } from "./session.ts";
import { askClient } from "./snapshot-rows.ts";
import { classify, sqlstateOf } from "./sqlstate.ts";
import { BanyanError, invariant } from "../../src/model/errors.ts";
import {
  rowKeyText,
  type LegacyWriter,
  type RowConflict,
  type StreamWrite,
  type WriteOutcome,
} from "../../src/reverse/legacy-writer.ts";
import { failpoint } from "../../src/runtime/failpoint.ts";

/** How long a row that somebody has locked is waited for, before the attempt is given up for a while. */
const LOCK_MS_MAX = 3_000;
/** How long one statement may take. */
const STATEMENT_MS_MAX = 60_000;
/** How long whoever writes for the pipeline may take to make room. */
const PLACE_MS_MAX = 5_000;
const ANSWER_MS_MAX = 90_000;
const APPLICATION = "banyan reverse sync";

/** Triggers of the legacy database may ask for it: `current_setting('banyan.reverse', true) = 'on'`. */
const SESSION = `SET statement_timeout = ${STATEMENT_MS_MAX}; SET banyan.reverse = 'on'; SET jit = off; SET enable_seqscan = off`;

const PLACE = "SELECT pg_advisory_lock(hashtextextended('banyan.reverse:' || $1, 0))";
const APPLIED = `
  SELECT stream_id AS stream, version FROM banyan_reverse.applied WHERE pipeline = $1 AND stream_id = ANY ($2::text[])`;
const ECHO = `
  SELECT pg_logical_emit_message(true, 'banyan.echo', json_build_object('pipeline', $1::text, 'stream', e.stream, 'version', e.version)::text)
    FROM unnest($2::text[], $3::int[]) e (stream, version)`;
const NOTE = `
  INSERT INTO banyan_reverse.applied (pipeline, stream_id, version)
  SELECT $1, e.stream, e.version FROM unnest($2::text[], $3::int[]) e (stream, version) ORDER BY 2
  ON CONFLICT (pipeline, stream_id) DO UPDATE SET version = excluded.version`;

/** Somebody else's work stands in the way for a moment: locks, deadlocks, timeouts. */
const BUSY: readonly string[] = ["55P03", "40P01", "40001", "57014"];
/** The table is another one than it was. */
const CHANGED: readonly string[] = ["42703", "42P01", "42804", "42846", "0A000", "XX000"];
/** The server, the session or its rights; whatever else has a code is about the rows: constraints, values, triggers. */
const NOT_ABOUT_ROWS = /^(08|25|26|28|3D|42501|53|54|57|58|F0|XX)/;
const SQLSTATE = /^(?=.*\d)[0-9A-Z]{5}$/;

export interface PostgresLegacyWriterOptions {
  readonly url: string;
  /** Name of the migration. */
  readonly pipeline: string;
}

/** Opens nothing yet; see {@link LegacyWriter.open}. */
export function postgresLegacyWriter(options: PostgresLegacyWriterOptions): LegacyWriter {
  return new PostgresLegacyWriter(options);
}

class PostgresLegacyWriter implements LegacyWriter {
  readonly #options: PostgresLegacyWriterOptions;
  #client: pg.Client | undefined;
  #tables: ReadonlyMap<string, LegacyTable> = new Map();
  #isStale = false;

  constructor(options: PostgresLegacyWriterOptions) {
    this.#options = options;
  }

  async examine(tables: readonly string[]): Promise<void> {
    const client = await this.#session();
    try {
      const ask = askClient(client);
      await examineLegacy(ask, await readLegacyTables(ask, tables).then((found) => found.values()));
    } finally {
      await disconnect(client);
    }
  }

  async open(tables: readonly string[]): Promise<void> {
    const client = this.#client ?? (await this.#connect());
    const ask = askClient(client);
    this.#tables = await readLegacyTables(ask, tables);
    await prepareLegacy(ask, this.#tables.values());
  }

  async applied(streams: readonly string[]): Promise<ReadonlyMap<string, number>> {
    return await readApplied(this.#ask, this.#options.pipeline, streams);
  }

  async write(batch: readonly StreamWrite[]): Promise<WriteOutcome> {
    const tables = new Set(batch.flatMap(({ rows }) => rows.map(({ table }) => table)));
    const isNew = [...tables].some((table) => !this.#tables.has(table));
    if (this.#isStale || isNew) {
      await this.open([...new Set([...this.#tables.keys(), ...tables])]);
      this.#isStale = false;
    }
    const outcome = await this.#attempt(batch, ROOM_FIRST);
    if (outcome.kind !== "refused" || batch.length > 1) return outcome;
    // A row may have to be there before another lets go of the one that it refers to.
    const otherwise = await this.#attempt(batch, ROWS_FIRST);
    if (otherwise.kind !== "refused") return otherwise;
    return outcome.key === "" ? await this.#attempt(batch, ROOM_FIRST, true) : outcome;
  }

  async close(): Promise<void> {
    const client = this.#client;
    this.#client = undefined;
    if (client !== undefined) await disconnect(client);
  }

  async #connect(): Promise<pg.Client> {
    const client = await this.#session();
    try {
      await client.query(`${SESSION}; SET lock_timeout = ${PLACE_MS_MAX}`);
      await client.query(PLACE, [this.#options.pipeline]);
      await client.query(`SET lock_timeout = ${LOCK_MS_MAX}`);
    } catch (error) {
      await disconnect(client);
      throw classify(error, "source", "waiting for whoever writes to the legacy rows to make room");
    }
    this.#client = client;
    return client;
  }

  #session(): Promise<pg.Client> {
    return connect({
      url: this.#options.url,
      applicationName: APPLICATION,
      lockTimeoutMs: LOCK_MS_MAX,
      answerMsMax: ANSWER_MS_MAX,
    });
  }

  get #ask(): Ask {
    invariant(this.#client !== undefined, "the writer is not open");
    return askClient(this.#client);
  }

  async #attempt(
    batch: readonly StreamWrite[],
    order: WriteOrder,
    isSingly = false,
  ): Promise<WriteOutcome> {
    const place: Place = { table: "", key: "" };
    try {
      return { kind: "written", conflicts: await this.#transact(batch, order, place, isSingly) };
    } catch (error) {
      await this.#client?.query("ROLLBACK").catch(() => undefined);
      return this.#outcomeOf(error, place, batch);
    }
  }

  async #transact(
    batch: readonly StreamWrite[],
    order: WriteOrder,
    place: Place,
    isSingly: boolean,
  ): Promise<RowConflict[]> {
    const { pipeline } = this.#options;
    const ask = this.#ask;
    await ask("beginning a transaction", "BEGIN; SET CONSTRAINTS ALL DEFERRED", []);
    await requireApplied(ask, pipeline, batch);
    const conflicts: RowConflict[] = [];
    let left = batch;
    for (;;) {
      await ask("setting a savepoint", "SAVEPOINT rows", []);
      const versions = [left.map(({ stream }) => stream), left.map(({ version }) => version)];
      // Before the rows, so that whoever reads the log knows what they are when they come.
      await ask("announcing the rows", ECHO, [pipeline, ...versions]);
      failpoint("reverse-announced");
      const found = await writeRows(ask, this.#tables, left, order, place, isSingly);
      if (found.length === 0) {
        failpoint("reverse-rows-written");
        await ask("noting what is applied", NOTE, [pipeline, ...versions]);
        break;
      }
      // With the savepoint goes what was announced; those that are left are announced alone.
      await ask("leaving streams out", "ROLLBACK TO SAVEPOINT rows", []);
      const others = new Set(found.map(({ stream }) => stream));
      conflicts.push(...firstOfEach(found));
      left = left.filter(({ stream }) => !others.has(stream));
      if (left.length === 0) break;
    }
    failpoint("reverse-before-commit");
    // What fails now was deferred, and may be any of the rows.
    place.key = "";
    await ask("committing", left.length === 0 ? "ROLLBACK" : "COMMIT", []);
    failpoint("reverse-after-commit");
    return conflicts;
  }

  #outcomeOf(error: unknown, place: Place, batch: readonly StreamWrite[]): WriteOutcome {
    const code = sqlstateOf(error);
    const reason = reasonOf(error);
    if (BUSY.includes(code)) return { kind: "busy", reason };
    if (CHANGED.includes(code)) {
      this.#isStale = true;
      return { kind: "busy", reason };
    }
    if (SQLSTATE.test(code) && !NOT_ABOUT_ROWS.test(code)) {
      const taken = takenBy(error);
      const told = taken === undefined ? reason : takenReason(taken);
      return { kind: "refused", ...rowOf(place, taken, batch), reason: told };
    }
    if (code === "42501") {
      throw new BanyanError("REVERSE_NOT_READY", `writing to the legacy rows: ${reason}`, {
        cause: error,
        hint: "Grant the role what docs/7-rollout.md lists.",
      });
    }
    throw classify(error, "source", "writing to the legacy rows");
  }
}

/** The row that was refused, as far as it is known. */
function rowOf(
  { table, key }: Place,
  taken: Taken | undefined,
  batch: readonly StreamWrite[],
): Place {
  if (key !== "") return { table, key };
  const all = batch.flatMap(({ rows }) => rows);
  // The constraint's own table, unless it is a partition.
  const named = all.some((row) => row.table === taken?.table) ? taken!.table : table;
  const rows = all.filter((row) => row.table === named);
  return { table: named, key: rows.length === 1 ? rowKeyText(rows[0]!) : "" };
}

async function readApplied(
  ask: Ask,
  pipeline: string,
  streams: readonly string[],
  lock = "",
): Promise<ReadonlyMap<string, number>> {
  const rows = await ask<{ stream: string; version: number }>(
    "reading what is applied",
    APPLIED + lock,
    [pipeline, streams],
  );
  return new Map(rows.map(({ stream, version }) => [stream, version]));
}

/** Nobody but this session changes it, unless the database was restored meanwhile. */
async function requireApplied(
  ask: Ask,
  pipeline: string,
  batch: readonly StreamWrite[],
): Promise<void> {
  const streams = batch.map(({ stream }) => stream);
  const applied = await readApplied(ask, pipeline, streams, " ORDER BY stream_id FOR UPDATE");
  const moved = batch.find(({ stream, applied: was }) => applied.get(stream) !== was);
  if (moved === undefined) return;
  throw new BanyanError(
    "SOURCE_UNREACHABLE",
    `what is applied of ${moved.stream} has changed under way; it is read anew`,
  );
}

function firstOfEach(conflicts: readonly RowConflict[]): RowConflict[] {
  const first = new Map<string, RowConflict>();
  for (const conflict of conflicts)
    if (!first.has(conflict.stream)) first.set(conflict.stream, conflict);
  return [...first.values()];
}

/** What the server said; of a value that it does not take without the value. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message.replace(/^[^:]+: /, "").replace(/(invalid input [^:]*): .*/s, "$1");
}
