import { emptyOutput, type EventWriter } from "./event-writer.ts";
import type { Mapping } from "../mapping/compile.ts";
import { unparkChange, type ParkedPayload } from "../mapping/parked-change.ts";
import { BanyanError } from "../model/errors.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { EventStore, ParkedFilter, ParkedRecord } from "../store/event-store.ts";
import { count } from "../model/count-text.ts";

/** More blocked streams than this means that the mapping is wrong as a whole, not some rows. */
const BLOCKED_STREAMS_MAX = 100_000;
/** Parked changes in memory at once. */
const PARKED_PER_PAGE = 2_000;

/**
 * Loads which streams are blocked, and maps the parked changes of those that were decided about:
 * `retry` all of them, `skip` all but the first. What fails again is parked again, as new; so is what was
 * written past the new service, as long as that decides over the aggregate.
 *
 * Stages only; the caller commits, before it writes anything else. Nothing else may be staged before
 * in the same commit.
 */
export async function releaseQuarantine(
  pipeline: string,
  store: EventStore,
  mapping: Mapping,
  writer: EventWriter,
): Promise<void> {
  const { blocked } = writer.mapper;
  blocked.clear();
  const streams = await store.quarantine.streams(pipeline);
  refuseTooMany(streams.length);
  for (const { stream } of streams) blocked.add(stream);
  for (const { stream, decision } of streams) {
    if (decision === "none") continue;
    blocked.delete(stream);
    let skips = decision === "skip" ? 1 : 0;
    for await (const records of parkedChanges(store, pipeline, stream)) {
      await release(records.slice(skips), records.slice(0, skips), mapping, writer);
      skips = 0;
    }
  }
}

/** All that waits in one stream, in order, some at a time. What is staged meanwhile does not show. */
export async function* parkedChanges(
  store: EventStore,
  pipeline: string,
  stream: string,
): AsyncGenerator<readonly ParkedRecord[], void, void> {
  let filter: ParkedFilter = { pipeline, stream, limit: PARKED_PER_PAGE };
  for (;;) {
    const records = await store.quarantine.list(filter);
    if (records.length > 0) yield records;
    if (records.length < PARKED_PER_PAGE) return;
    filter = { ...filter, after: records.at(-1)!.id };
  }
}

export function isTooMany(streams: number): boolean {
  return streams > BLOCKED_STREAMS_MAX;
}

export function refuseTooMany(streams: number): void {
  if (!isTooMany(streams)) return;
  throw new BanyanError(
    "QUARANTINE_FULL",
    `${count(streams)} streams are in quarantine; at most ${count(BLOCKED_STREAMS_MAX)} are kept apart`,
    { hint: "Look at the reasons with: banyan quarantine list; then correct the config and retry" },
  );
}

async function release(
  toMap: readonly ParkedRecord[],
  toSkip: readonly ParkedRecord[],
  mapping: Mapping,
  writer: EventWriter,
): Promise<void> {
  const out = emptyOutput();
  for (const group of byTransaction(toMap)) {
    const payloads = group.map((record) => record.change as ParkedPayload);
    const changes = payloads.flatMap((payload) => {
      const table = mapping.shapeOf(mapping.nameNow(payload.table));
      return table === undefined ? [] : [unparkChange(payload, table, mapping.columnsOf(table))];
    });
    await writer.adoptShapes(changes);
    const { transaction, intent } = payloads[0]!;
    await writer.map({ transaction, changes, intent }, out);
  }
  failpoint("quarantine-before-release");
  const idOf = ({ id }: ParkedRecord): string => id;
  await writer.stage(out, [], 0, { released: toMap.map(idOf), skipped: toSkip.map(idOf) });
  // They were counted in and parked when they came; now they are counted by what became of them.
  const again = toMap.filter((record) => (record.change as ParkedPayload).half !== "joined").length;
  writer.addToLedger({ changesIn: -again, changesParked: -again });
}

function byTransaction(records: readonly ParkedRecord[]): ParkedRecord[][] {
  const groups: ParkedRecord[][] = [];
  let transaction: string | undefined;
  for (const record of records) {
    const { commit } = (record.change as ParkedPayload).transaction;
    if (commit !== transaction) groups.push([]);
    transaction = commit;
    groups.at(-1)!.push(record);
  }
  return groups;
}
