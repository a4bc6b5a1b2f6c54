import { bucketOf } from "../../src/rollout/bucket.ts";
import { sideOf } from "../../src/rollout/side.ts";
import type { Side, Stage } from "../../src/rollout/stage.ts";
import type { TestDatabase } from "../support/databases.ts";

/**
 * Writes down each state that the rollout of orders is in, and for each event of an order the epoch in which
 * it was stored: an append holds the lock that a switch waits for.
 */
export const WITNESS_SQL = `
CREATE SCHEMA witness;
CREATE TABLE witness.rollouts (epoch bigint PRIMARY KEY, stage text, share int, salt text, held_from int, held_to int, at timestamptz);
CREATE FUNCTION witness.see_rollout() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO witness.rollouts
  VALUES (NEW.epoch, NEW.stage, NEW.share, NEW.salt, NEW.held_from, NEW.held_to, clock_timestamp())
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT OR UPDATE ON banyan.rollouts
  FOR EACH ROW WHEN (NEW.stream_type = 'order') EXECUTE FUNCTION witness.see_rollout();
CREATE TABLE witness.events (stream_id text, version int, origin text, type text, source_transaction text, epoch bigint);
CREATE FUNCTION witness.see_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO witness.events
  VALUES (NEW.stream_id, NEW.version, NEW.origin, NEW.type, NEW.source_transaction,
          coalesce((SELECT epoch FROM banyan.rollouts WHERE stream_type = 'order'), 0));
  RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT ON banyan.events
  FOR EACH ROW WHEN (NEW.stream_id LIKE 'order-%') EXECUTE FUNCTION witness.see_event();
`;

/** Where orders stood from `atMs` on, until the next. */
export interface StageSeen {
  readonly epoch: number;
  readonly stage: Stage;
  readonly share: number;
  readonly salt: string;
  /** Buckets whose writes are held back. */
  readonly held: { readonly from: number; readonly to: number } | undefined;
  readonly atMs: number;
}

/** An event behind the baseline, and the epoch in which it was stored. */
export interface EventSeen {
  readonly stream: string;
  readonly version: number;
  readonly origin: "capture" | "native";
  readonly type: string;
  readonly transaction: string | undefined;
  readonly epoch: number;
}

/** A line of a proxy's access log about an order. */
export interface RequestSeen {
  readonly method: string;
  readonly path: string;
  readonly route: string;
  readonly side: Side;
  readonly epoch: number;
  /** When the request came, and when the head of its answer did. */
  readonly calledAtMs: number;
  readonly answeredAtMs: number | undefined;
}

export interface Seen {
  readonly stages: readonly StageSeen[];
  readonly events: readonly EventSeen[];
  readonly requests: readonly RequestSeen[];
}

interface StageRow {
  readonly epoch: string;
  readonly stage: Stage;
  readonly share: number;
  readonly salt: string;
  readonly held_from: number | null;
  readonly held_to: number | null;
  readonly at_ms: number;
}

interface EventRow {
  readonly stream_id: string;
  readonly version: number;
  readonly origin: "capture" | "native";
  readonly type: string;
  readonly source_transaction: string | null;
  readonly epoch: string;
}

interface AccessLine {
  readonly time: string;
  readonly method: string;
  readonly path: string;
  readonly route?: string;
  readonly side?: Side;
  readonly epoch?: number;
  readonly durationMs: number;
  readonly headMs?: number;
}

/** Events that the new service has stored so far. */
export async function nativeEvents(database: TestDatabase): Promise<number> {
  const { rows } = await database.query(
    "SELECT count(*)::int AS count FROM witness.events WHERE origin = 'native'",
  );
  return (rows[0] as { count: number }).count;
}

/** What was witnessed in the store, and what the proxies wrote. */
export async function readSeen(
  database: TestDatabase,
  accessLines: readonly unknown[],
): Promise<Seen> {
  const stages = (
    await database.query(
      "SELECT *, extract(epoch FROM at)::float8 * 1000 AS at_ms FROM witness.rollouts ORDER BY epoch",
    )
  ).rows as readonly StageRow[];
  const events = (await database.query("SELECT * FROM witness.events ORDER BY stream_id, version"))
    .rows as readonly EventRow[];
  return {
    stages: stages.map(({ epoch, held_from, held_to, at_ms, stage, share, salt }) => ({
      ...{ stage, share, salt, epoch: Number(epoch), atMs: at_ms },
      held: held_from === null ? undefined : { from: held_from, to: held_to! },
    })),
    events: events.map(({ stream_id, version, origin, type, source_transaction, epoch }) => ({
      ...{ stream: stream_id, version, origin, type, epoch: Number(epoch) },
      transaction: source_transaction ?? undefined,
    })),
    requests: accessLines.flatMap((line) => requestOf(line as AccessLine)),
  };
}

function requestOf(line: AccessLine): readonly RequestSeen[] {
  const { method, path, route, side, epoch, headMs } = line;
  if (route === undefined || side === undefined || epoch === undefined) return [];
  const calledAtMs = Date.parse(line.time) - line.durationMs;
  const answeredAtMs = headMs === undefined ? undefined : calledAtMs + headMs;
  return [{ method, path, route, side, epoch, calledAtMs, answeredAtMs }];
}

/** The log's clock has whole milliseconds. */
const CLOCK_MS = 5;

/**
 * Where two sides decided over one order at the same time, or one of them without authority.
 *
 * * A write goes to the side that has authority in the epoch it was decided on, and to none while it is held.
 * * When the authority over an order changes, no write to the old side is without its answer.
 * * A service's event is stored in an epoch in which new has authority over its order, a captured one in an
 *   epoch in which legacy has; except the creation of an order, to which legacy is entitled at canary.
 */
export function authorityProblems({ stages, events, requests }: Seen): readonly string[] {
  const unmoved = {
    epoch: 0,
    stage: "legacy",
    share: 0,
    salt: "",
    held: undefined,
    atMs: 0,
  } as const;
  const byEpoch = new Map<number, StageSeen>([unmoved, ...stages].map((one) => [one.epoch, one]));
  const salt = stages[0]?.salt ?? "";
  const sideIn = ({ stage, share }: StageSeen, bucket: number): Side =>
    sideOf(stage, share, bucket, "write") as Side;
  const problems: string[] = [];

  for (const request of requests) {
    const { method, path, route, side, epoch, calledAtMs, answeredAtMs } = request;
    const told = `${method} ${path} at epoch ${epoch}`;
    const seen = byEpoch.get(epoch);
    if (seen === undefined) {
      problems.push(`${told}: there was no such epoch`);
      continue;
    }
    const id = /^\/orders\/(\d+)/.exec(path)?.[1];
    if (id === undefined || method === "GET") {
      const isDrawn = seen.stage === "canary" || method === "GET";
      if (!isDrawn && side !== sideIn(seen, 0)) problems.push(`${told}: was made by ${side}`);
      continue;
    }
    const bucket = bucketOf(id, salt);
    if (route.endsWith("/merge")) continue;
    if (side !== sideIn(seen, bucket)) problems.push(`${told}: went to ${side}, ${seen.stage}`);
    if (isHeld(seen, bucket)) problems.push(`${told}: was not held back`);
    const switched = stages.find((one) => one.epoch > epoch && sideIn(one, bucket) !== side);
    if (switched === undefined || answeredAtMs === undefined) continue;
    const late = answeredAtMs - switched.atMs;
    if (late > CLOCK_MS)
      problems.push(
        `${told}: ${side} answered ${late.toFixed(1)} ms after epoch ${switched.epoch} took the order from it; it was asked ${(switched.atMs - calledAtMs).toFixed(1)} ms before`,
      );
  }

  const creations = new Map(
    events.filter(({ version }) => version === 1).map((one) => [one.stream, one.transaction]),
  );
  for (const { stream, version, origin, type, transaction, epoch } of events) {
    const seen = byEpoch.get(epoch);
    const side = origin === "native" ? "new" : "legacy";
    const isCreation = transaction !== undefined && creations.get(stream) === transaction;
    if (seen === undefined) problems.push(`${stream} ${version} ${type}: no epoch ${epoch}`);
    else if (side !== sideIn(seen, bucketOf(stream.slice("order-".length), salt)) && !isCreation)
      problems.push(
        `${stream} ${version} ${type}: ${origin} event at epoch ${epoch}, ${seen.stage} ${seen.share}`,
      );
  }
  return problems;
}

function isHeld({ held }: StageSeen, bucket: number): boolean {
  return held !== undefined && bucket >= held.from && bucket < held.to;
}
