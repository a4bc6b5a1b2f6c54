import type pg from "pg";
import { classifyStore, isTaken } from "./store-errors.ts";
import type { NewEvent } from "../../src/model/event.ts";
import {
  assertAppendable,
  expectedRange,
  firstResult,
  versionConflict,
  type KnownEvent,
} from "../../src/store/append-rules.ts";
import type { AppendResult, ExpectedVersion } from "../../src/store/event-store.ts";

/** Appends that name no version are placed again when another was quicker; so often at most. */
const PLACINGS_MAX = 20;

/**
 * One statement: it looks for the events' own ids, checks the expected version and inserts, all on one
 * snapshot. A concurrent append to the same place fails on the key (stream, version).
 *
 * One statement is also what keeps a stream's order for readers: its snapshot is taken before it gets
 * its transaction id, so whatever it follows has a smaller one.
 */
const APPEND = `
  WITH known AS MATERIALIZED (
         SELECT event_id, stream_id, version FROM banyan.events WHERE event_id = ANY ($4::uuid[])),
       head AS MATERIALIZED (
         SELECT coalesce((SELECT version FROM banyan.events WHERE stream_id = $1 ORDER BY version DESC LIMIT 1), 0) AS version),
       added AS (
         INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, schema_version,
                                    correlation_id, causation_id, actor, metadata, data)
         SELECT e.id, head.version + e.n, coalesce(e.time, now()), e.origin::banyan.event_origin, $1, e.type, e.schema,
                e.correlation, e.causation, e.actor, e.metadata, e.data
           FROM head, unnest($4::uuid[], $5::timestamptz[], $6::text[], $7::text[], $8::smallint[], $9::text[],
                             $10::text[], $11::text[], $12::jsonb[], $13::jsonb[])
                      WITH ORDINALITY AS e(id, time, origin, type, schema, correlation, causation, actor, metadata, data, n)
          WHERE NOT EXISTS (SELECT FROM known) AND head.version BETWEEN $2 AND $3
          ORDER BY e.n
         RETURNING 1)
  SELECT head.version AS current,
         (SELECT count(*)::int FROM added) AS added,
         (SELECT json_agg(json_build_object('id', event_id, 'stream', stream_id, 'version', version)) FROM known) AS known
    FROM head`;

/** Rows of {@link APPEND}. */
interface Appended {
  readonly current: number;
  readonly added: number;
  readonly known: readonly KnownEvent[] | null;
}

/** See `EventStore.append`. */
export async function appendEvents(
  pool: pg.Pool,
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedVersion,
): Promise<AppendResult> {
  assertAppendable(stream, events);
  const values = parameters(stream, events, expected);
  for (let placing = 1; ; placing++) {
    try {
      const { rows } = await pool.query<Appended>({ name: "banyan-append", text: APPEND, values });
      const { current, added, known } = rows[0]!;
      if (known !== null) return firstResult(stream, events, known);
      if (added === 0) throw versionConflict(stream, current, expected);
      return { firstVersion: current + 1, lastVersion: current + added };
    } catch (error) {
      // Either somebody wrote to the stream, or this very append was made twice at once. Asked again,
      // the statement sees what was in its way.
      const overtaken = isTaken(error, "stream_id") || isTaken(error, "event_id");
      if (overtaken && placing < PLACINGS_MAX) continue;
      throw classifyStore(error, `appending to ${stream}`);
    }
  }
}

function parameters(
  stream: string,
  events: readonly NewEvent[],
  expected: ExpectedVersion,
): unknown[] {
  const [ids, times, ...more] = eventColumns(events);
  const origins = events.map(({ origin }) => origin ?? "native");
  return [stream, ...expectedRange(expected), ids, times, origins, ...more];
}

/** An array per column: id, time, type, schema version, correlation, causation, actor, metadata, data. */
export function eventColumns(events: readonly NewEvent[]): unknown[][] {
  const of = <T>(pick: (event: NewEvent) => T | undefined): (T | null)[] =>
    events.map((event) => pick(event) ?? null);
  return [
    of((e) => e.id),
    of((e) => e.time),
    of((e) => e.type),
    of((e) => e.schemaVersion ?? 1),
    of((e) => e.correlationId),
    of((e) => e.causationId),
    of((e) => e.actor),
    of((e) => (e.metadata === undefined ? undefined : JSON.stringify(e.metadata))),
    of((e) => JSON.stringify(e.data)),
  ];
}
