import { emptyOutput, type EventWriter } from "./event-writer.ts";
import type { Mapping } from "../mapping/compile.ts";
import { unparkChange, type ParkedPayload } from "../mapping/parked-change.ts";
import { BanyanError } from "../model/errors.ts";
import { failpoint } from "../runtime/failpoint.ts";
import type { EventStore, ParkedRecord } from "../store/event-store.ts";

/** More blocked streams than this means that the mapping is wrong as a whole, not some rows. */
const BLOCKED_STREAMS_MAX = 100_000;
export const PARKED_PER_STREAM_MAX = 100_000;

/**
 * Loads which streams are blocked, and maps the parked changes of those that were decided about:
 * `retry` all of them, `skip` all but the first. What fails again is parked again, as new.
 *
 * Stages only; the caller commits. Nothing else may be staged before in the same commit.
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
    const records = await store.quarantine.list({ pipeline, stream, limit: PARKED_PER_STREAM_MAX });
    blocked.delete(stream);
    await release(decision === "skip" ? records.slice(1) : records, records, mapping, writer);
  }
}

export function refuseTooMany(streams: number): void {
  if (streams <= BLOCKED_STREAMS_MAX) return;
  throw new BanyanError(
    "QUARANTINE_FULL",
    `${streams} streams are in quarantine; at most ${BLOCKED_STREAMS_MAX} are kept apart`,
    { hint: "Look at the reasons with: banyan quarantine list; then correct the config and retry" },
  );
}

async function release(
  toMap: readonly ParkedRecord[],
  all: readonly ParkedRecord[],
  mapping: Mapping,
  writer: EventWriter,
): Promise<void> {
  const out = emptyOutput();
  for (const group of byTransaction(toMap)) {
    const payloads = group.map((record) => record.change as ParkedPayload);
    const changes = payloads.flatMap((payload) => {
      const table = mapping.shapeOf(payload.table);
      return table === undefined ? [] : [unparkChange(payload, table, mapping.columnsOf(table))];
    });
    await writer.adoptShapes(changes);
    const { transaction, intent } = payloads[0]!;
    writer.mapper.map(transaction, changes, intent, out);
  }
  failpoint("quarantine-before-release");
  const released = all.map((record) => record.id);
  await writer.stage(out, [], 0, released);
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
