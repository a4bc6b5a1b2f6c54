import type pg from "pg";
import { eventColumns } from "./store-append.ts";
import { CLAIMING, claimColumns, holderOf, releaseClaim } from "./store-claims.ts";
import { quoteLiteral } from "./identifiers.ts";
import { classifyStore, isTaken } from "./store-errors.ts";
import {
  assertAppendable,
  authorityElsewhere,
  expectedRange,
  streamParts,
  versionConflict,
} from "../../src/store/append-rules.ts";
import type {
  HeldClaim,
  IdRequest,
  Proposal,
  ServiceAppend,
  ServiceAppended,
  ServiceStore,
} from "../../src/store/service-store.ts";

/** An append that met another on its way looks again; so often at most. */
const PLACINGS_MAX = 20;
/** At a share of a hundredth of a percent one in ten thousand will do. */
const DRAWS_MAX = 300_000;

/** The bucket of an id under rollout `r`, as src/rollout/bucket.ts has it. */
const bucketSql = (id: string): string =>
  `((hashtextextended(r.salt || ':' || (${id}) COLLATE "C", 0) & 4294967295) * 10000) >> 32`;

/**
 * One statement. `side` is asked once and, being volatile, looks after it has the lock, which lasts until
 * what is inserted here is committed. The salt of a rollout never changes, so it may be read before that.
 * A version that was read before the lock and is no longer true fails on the key (stream, version).
 */
const appendSql = (more: string): string => `
  WITH known AS MATERIALIZED (
         SELECT FROM banyan.events WHERE event_id = ANY ($6::uuid[])),
       side AS MATERIALIZED (
         SELECT banyan.authority($1, $2, (SELECT (${bucketSql("$3::text")})::int FROM banyan.rollouts r
                                           WHERE r.pipeline = $1 AND r.stream_type = $2)) AS side),
       head AS MATERIALIZED (
         SELECT coalesce((SELECT version FROM banyan.events WHERE stream_id = $4 ORDER BY version DESC LIMIT 1), 0) AS version),
       added AS (
         INSERT INTO banyan.events (event_id, version, time, origin, stream_id, type, schema_version, mapping_version,
                                    correlation_id, causation_id, actor, metadata, data)
         SELECT e.id, head.version + e.n, coalesce(e.time, now()), 'native', $4, e.type, e.schema, $15::int,
                e.correlation, e.causation, e.actor, e.metadata, e.data
           FROM head, side, unnest($6::uuid[], $7::timestamptz[], $8::text[], $9::smallint[], $10::text[],
                                   $11::text[], $12::text[], $13::jsonb[], $14::jsonb[])
                      WITH ORDINALITY AS e(id, time, type, schema, correlation, causation, actor, metadata, data, n)
          WHERE NOT EXISTS (SELECT FROM known) AND side.side = 'new' AND head.version = $5
          ORDER BY e.n
         RETURNING 1)${more}
  SELECT head.version AS current, side.side, EXISTS (SELECT FROM known) AS known,
         (SELECT count(*)::int FROM added) AS added
    FROM head, side`;

/** A role that claims nothing needs no right to banyan.claims. */
const APPEND = { name: "banyan-service-append", text: appendSql("") };
const APPEND_CLAIMING = { name: "banyan-service-append-claiming", text: appendSql(`,${CLAIMING}`) };

interface Appended {
  readonly current: number;
  readonly side: "legacy" | "new";
  readonly known: boolean;
  readonly added: number;
}

const PROPOSE = `
  INSERT INTO banyan.proposals (pipeline, correlation_id, stream_id, decided_on, events, inputs)
  VALUES ($1, $2, $3, $4, $5, $6)`;

/** Several that take at once pass each other by; an id whose append then fails is not given back. */
const TAKE_RESERVED = `
  WITH r AS MATERIALIZED (
         SELECT stage, share FROM banyan.rollouts WHERE pipeline = $1 AND stream_type = $2),
       first AS MATERIALIZED (
         SELECT i.id FROM banyan.reserved_ids i, r
          WHERE i.pipeline = $1 AND i.stream_type = $3
            AND (r.stage IN ('new', 'complete') OR (r.stage = 'canary' AND i.bucket < r.share))
          ORDER BY i.id LIMIT 1 FOR UPDATE OF i SKIP LOCKED),
       taken AS (
         DELETE FROM banyan.reserved_ids t USING first
          WHERE t.pipeline = $1 AND t.stream_type = $3 AND t.id = first.id
         RETURNING t.id)
  SELECT (SELECT id::text FROM taken) AS id,
         coalesce((SELECT stage IN ('new', 'complete') OR (stage = 'canary' AND share > 0) FROM r), false) AS moved`;

const GIVE_BACK = `
  INSERT INTO banyan.reserved_ids (pipeline, stream_type, id, bucket)
  SELECT $1, $3, $4::bigint, CASE WHEN $2::text = $3 THEN (${bucketSql("$4::text")})::int ELSE 0 END
    FROM banyan.rollouts r WHERE r.pipeline = $1 AND r.stream_type = $2
  ON CONFLICT DO NOTHING`;

/** Stops at the first that will do. */
const DRAW_UUID = `
  WITH r AS MATERIALIZED (
         SELECT salt, share, stage FROM banyan.rollouts WHERE pipeline = $1 AND stream_type = $2)
  SELECT (SELECT drawn.id FROM r, LATERAL (SELECT gen_random_uuid()::text AS id, generate_series(1, ${DRAWS_MAX})) drawn
           WHERE r.stage IN ('new', 'complete') OR (r.stage = 'canary' AND ${bucketSql("drawn.id")} < r.share)
           LIMIT 1) AS id,
         coalesce((SELECT stage IN ('new', 'complete') OR (stage = 'canary' AND share > 0) FROM r), false) AS moved`;

/** Under which ids are reserved. */
function nameOf({ streamType, role }: IdRequest): string {
  return role === undefined ? streamType : `${streamType}/${role}`;
}

/** See {@link ServiceStore}. */
export class PostgresServiceStore implements ServiceStore {
  readonly #pool: pg.Pool;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
  }

  async append(request: ServiceAppend): Promise<ServiceAppended> {
    const { stream, events, expected } = request;
    assertAppendable(stream, events);
    const isClaiming = (request.claims ?? []).length > 0;
    const query = isClaiming
      ? { ...APPEND_CLAIMING, values: [...parameters(request), ...claimColumns(request)] }
      : { ...APPEND, values: parameters(request) };
    for (let placing = 1; ; placing++) {
      try {
        const { rows } = await this.#pool.query<Appended>(query);
        const { current, side, known, added } = rows[0]!;
        if (known) return { outcome: "known" };
        if (side !== "new") throw authorityElsewhere(stream);
        if (added === 0) throw versionConflict(stream, current, expected);
        return { outcome: "stored", firstVersion: current + 1, lastVersion: current + added };
      } catch (error) {
        // Asked again, the statement sees what was in its way: a conflict, or this very append.
        const isClaimed = isTaken(error, "claim");
        const by = isClaimed ? await this.#holderOf(request) : undefined;
        if (by !== undefined) return { outcome: "taken", by };
        const overtaken = isClaimed || isTaken(error, "stream_id") || isTaken(error, "event_id");
        if (overtaken && placing < PLACINGS_MAX) continue;
        throw classifyStore(error, `appending to ${stream}`);
      }
    }
  }

  async #holderOf(request: ServiceAppend): Promise<HeldClaim | undefined> {
    try {
      return await holderOf(this.#pool, request);
    } catch (error) {
      throw classifyStore(error, "looking for who has claimed a value");
    }
  }

  async release(pipeline: string, claim: HeldClaim): Promise<void> {
    try {
      await releaseClaim(this.#pool, pipeline, claim);
    } catch (error) {
      throw classifyStore(error, "releasing a value");
    }
  }

  async propose(proposal: Proposal): Promise<void> {
    const { pipeline, correlationId, stream, decidedOn, events, inputs = {} } = proposal;
    const told = [JSON.stringify(events), JSON.stringify(inputs)];
    const values = [pipeline, correlationId, stream, decidedOn, ...told];
    await this.#query("proposing", { name: "banyan-propose", text: PROPOSE, values });
  }

  async takeId(request: IdRequest): Promise<string | undefined> {
    const { pipeline, streamType, form } = request;
    const name = nameOf(request);
    const query =
      form === "integer"
        ? { name: "banyan-take-id", text: TAKE_RESERVED, values: [pipeline, streamType, name] }
        : { name: "banyan-draw-id", text: DRAW_UUID, values: [pipeline, streamType] };
    const [row] = await this.#query<{ id: string | null; moved: boolean }>("taking an id", query);
    if (!row!.moved) throw authorityElsewhere(`every ${streamType}`);
    return row!.id ?? undefined;
  }

  async giveBack(request: IdRequest, id: string): Promise<void> {
    const { pipeline, streamType, form } = request;
    if (form === "uuid") return;
    const values = [pipeline, streamType, nameOf(request), id];
    await this.#query("giving an id back", { name: "banyan-give-back", text: GIVE_BACK, values });
  }

  async streamsNaming(
    streamType: string,
    column: string,
    value: string,
    limit: number,
  ): Promise<readonly string[]> {
    // Written out, so that an index on this column of the data is used.
    const text = `
      SELECT e.stream_id FROM banyan.events e
       WHERE e.data ->> ${quoteLiteral(column)} = $1 AND starts_with(e.stream_id, $2)
       GROUP BY e.stream_id ORDER BY min(e.position) LIMIT $3`;
    const values = [value, `${streamType}-`, limit];
    const rows = await this.#query<{ stream_id: string }>("looking for a value", { text, values });
    return rows.map(({ stream_id }) => stream_id);
  }

  async streamOfEvent(eventId: string): Promise<string | undefined> {
    const [row] = await this.#query<{ stream_id: string }>("looking for an event", {
      name: "banyan-stream-of-event",
      text: "SELECT stream_id FROM banyan.events WHERE event_id = $1::uuid",
      values: [eventId],
    });
    return row?.stream_id;
  }

  async #query<Row extends pg.QueryResultRow>(
    doing: string,
    query: pg.QueryConfig,
  ): Promise<readonly Row[]> {
    try {
      return (await this.#pool.query<Row>(query)).rows;
    } catch (error) {
      throw classifyStore(error, doing);
    }
  }
}

function parameters({
  pipeline,
  stream,
  expected,
  mappingVersion,
  events,
}: ServiceAppend): unknown[] {
  const version = expectedRange(expected)[0];
  return [
    pipeline,
    ...streamParts(stream),
    stream,
    version,
    ...eventColumns(events),
    mappingVersion,
  ];
}
