import type pg from "pg";
import { formatUuid } from "../../src/mapping/event-id.ts";
import type { EventBatch } from "../../src/model/event.ts";

/** Inserts a few events by one statement of arrays; a COPY would cost more than it saves. */
export async function insertEvents(
  client: pg.ClientBase,
  events: EventBatch,
  sourceId: number,
): Promise<void> {
  const ids: string[] = [];
  const times: string[] = [];
  const causations: (string | null)[] = [];
  for (let i = 0; i < events.length; i++) {
    ids.push(formatUuid(events.ids, i * 16));
    times.push(timestampText(events.timesUs[i]!));
    causations.push(events.causationIds.get(i) ?? events.contexts[i]!.causationId ?? null);
  }
  const of = <T>(pick: (context: EventBatch["contexts"][number]) => T | undefined): (T | null)[] =>
    events.contexts.map((context) => pick(context) ?? null);
  await client.query({
    name: "banyan-insert-events",
    text: `INSERT INTO banyan.events (event_id, time, version, mapping_version, origin, stream_id, type,
             source_position, source_transaction, correlation_id, causation_id, actor, metadata, data, source_id)
           SELECT e.*, $15::int FROM unnest($1::uuid[], $2::timestamptz[], $3::int[], $4::int[], $5::banyan.event_origin[],
             $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
             $13::jsonb[], $14::jsonb[]) AS e`,
    values: [
      ids,
      times,
      events.versions,
      of((context) => context.mappingVersion),
      of((context) => context.origin),
      events.streams,
      events.types,
      events.positions,
      of((context) => context.sourceTransaction),
      of((context) => context.correlationId),
      causations,
      of((context) => context.actor),
      of((context) => context.metadata),
      events.data,
      sourceId,
    ],
  });
}

/** @param us microseconds since 1970 */
export function timestampText(us: number): string {
  const seconds = Math.floor(us / 1_000_000);
  const micros = us - seconds * 1_000_000;
  return `${new Date(seconds * 1000).toISOString().slice(0, 19)}.${String(micros).padStart(6, "0")}Z`;
}
