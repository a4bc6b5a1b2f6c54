import type { TestDatabase } from "./databases.ts";
import type { Proposal, ShadowWrite } from "../../src/store/dual-store.ts";

/** Writes rows as the proxy does when both sides have answered. */
export async function noteWrites(
  database: TestDatabase,
  pipeline: string,
  writes: readonly ShadowWrite[],
): Promise<void> {
  const of = <T>(pick: (write: ShadowWrite) => T | undefined): (T | null)[] =>
    writes.map((write) => pick(write) ?? null);
  await database.query(
    `INSERT INTO banyan.shadow_writes
       (pipeline, correlation_id, stream_type, stream_id, route, legacy_status, new_status, asked_at, answered_at)
     SELECT $1, w.id, w.type, w.stream, w.route, w.legacy, w.new, to_timestamp(w.asked / 1000), to_timestamp(w.answered / 1000)
       FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::int[], $7::int[], $8::float8[], $9::float8[])
            AS w(id, type, stream, route, legacy, new, asked, answered)`,
    [
      pipeline,
      of((w) => w.correlationId),
      of((w) => w.streamType),
      of((w) => w.stream),
      of((w) => w.route),
      of((w) => w.legacyStatus),
      of((w) => w.newStatus),
      of((w) => w.askedAtMs),
      of((w) => w.answeredAtMs),
    ],
  );
}

/** Writes rows as a service in shadow does. */
export async function propose(
  database: TestDatabase,
  pipeline: string,
  proposals: readonly (Proposal & { readonly correlationId: string })[],
): Promise<void> {
  await database.query(
    `INSERT INTO banyan.proposals (pipeline, correlation_id, stream_id, decided_on, events, inputs)
     SELECT $1, p.id, p.stream, p.decided, p.events::jsonb, p.inputs::jsonb
       FROM unnest($2::text[], $3::text[], $4::int[], $5::text[], $6::text[]) WITH ORDINALITY AS p(id, stream, decided, events, inputs, n) ORDER BY p.n`,
    [
      pipeline,
      proposals.map((p) => p.correlationId),
      proposals.map((p) => p.stream),
      proposals.map((p) => p.decidedOn),
      proposals.map((p) => JSON.stringify(p.events)),
      proposals.map((p) => JSON.stringify(p.inputs ?? {})),
    ],
  );
}
