import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { emptyOutput, type EventWriter } from "./event-writer.ts";
import { SpillFiles, spilling } from "./spill-files.ts";
import { streamsOf, truncateRefused } from "../mapping/change-mapper.ts";
import type { Mapping } from "../mapping/compile.ts";
import { EventBuffer, copyEvent } from "../mapping/event-buffer.ts";
import { hashText } from "../mapping/event-id.ts";
import type { Cell } from "../model/cell.ts";
import type { Intent, RowChange, TransactionPart } from "../model/change.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventContext } from "../model/event.ts";
import { changePosition, type Position } from "../model/position.ts";
import type { Cells, SourceTable } from "../model/table.ts";
import { failpoint } from "../runtime/failpoint.ts";

/** Files that a large transaction is spread over; each is grouped in memory for itself. */
const PARTITIONS = 128;
const BUFFER_BYTES_MAX = 64 * 1024;
/** Events per stage, and the length of their data at which a stage is full before that. */
const EVENTS_PER_STAGE = 2_000;
const DATA_LENGTH_PER_STAGE_MAX = 4 * 1024 * 1024;

/**
 * One source transaction that is too large for memory: spilled to disk by stream, mapped stream by
 * stream, merged back into the order of the log, and staged as one store transaction.
 *
 * The events are those that {@link EventWriter.write} would have made: the bound shows nowhere.
 * Memory holds one partition and one buffer per file.
 */
export class LargeTransaction {
  readonly #writer: EventWriter;
  readonly #mapping: Mapping;
  readonly #directory: string;
  readonly #changes: SpillFiles;
  readonly #tables: SourceTable[] = [];
  #intent: Intent | undefined;
  #changeCount = 0;

  private constructor(writer: EventWriter, mapping: Mapping, directory: string) {
    this.#writer = writer;
    this.#mapping = mapping;
    this.#directory = directory;
    this.#changes = new SpillFiles(join(directory, "changes"));
  }

  static async begin(
    writer: EventWriter,
    mapping: Mapping,
    spillDirectory: string,
  ): Promise<LargeTransaction> {
    const directory = await spilling(spillDirectory, () =>
      mkdtemp(join(spillDirectory, "transaction-")),
    );
    return new LargeTransaction(writer, mapping, directory);
  }

  get changeCount(): number {
    return this.#changeCount;
  }

  /** Takes the next part. Kept images are staged at once, so that later parts see them. */
  async add(part: TransactionPart): Promise<void> {
    await this.#writer.adoptShapes(part.changes);
    const { changes, images } = await this.#writer.complete([part]);
    await this.#writer.stageVersioned(new EventBuffer(), images, []);
    for (const change of changes[0]!) {
      if (change.kind === "truncate") {
        this.#refuseTruncate(change.table.name);
        continue;
      }
      const mapper = this.#mapping.mapperOf(change.table);
      if (mapper === undefined) continue;
      const table = this.#tableIndex(change.table);
      const streams = streamsOf(change, mapper);
      streams.forEach((stream, side) => {
        const half = streams.length === 1 ? undefined : side === 0 ? "left" : "joined";
        this.#changes.write(partitionOf(stream), encodeChange(change, table, half));
      });
    }
    this.#changeCount += part.changes.length;
    this.#intent = part.intent ?? this.#intent;
    await this.#changes.flush(BUFFER_BYTES_MAX);
  }

  #refuseTruncate(table: string): void {
    if (!this.#mapping.mapsTable(table)) return;
    const { truncate } = this.#mapping.streamOfTable(table)!.ref;
    if (truncate === "refuse") throw truncateRefused(table);
    throw new BanyanError(
      "TRUNCATE_REFUSED",
      `${table} was truncated in a transaction beyond the bound on memory, which is not possible yet`,
      {
        hint: "Raise limits.transactionChangesMax and limits.transactionBytesMax in the config beyond that transaction, then start banyan run again",
        detail: { table },
      },
    );
  }

  /** Maps and stages everything. @param last the part that ended the transaction, already added */
  async finish(last: TransactionPart): Promise<void> {
    await this.#changes.flush(0);
    failpoint("large-spilled");
    const contexts: EventContext[] = [];
    const runs = new SpillFiles(join(this.#directory, "events"));
    for (const partition of this.#changes.used) {
      await this.#mapPartition(partition, last, runs, contexts);
    }
    await this.#changes.close();
    await runs.flush(0);
    await this.#merge(runs, contexts);
    await runs.close();
    this.#writer.addToLedger({ transactions: 1 });
  }

  async discard(): Promise<void> {
    await this.#changes.close();
    await rm(this.#directory, { recursive: true, force: true });
  }

  async #mapPartition(
    partition: number,
    last: TransactionPart,
    runs: SpillFiles,
    contexts: EventContext[],
  ): Promise<void> {
    const changes: RowChange[] = [];
    for await (const line of this.#changes.lines(partition)) {
      changes.push(decodeChange(line, this.#tables));
    }
    const out = emptyOutput();
    await this.#writer.map({ transaction: last.transaction, changes, intent: this.#intent }, out);
    await this.#writer.assignVersions(out.events);
    this.#writer.count(out, 0);
    await this.#writer.stageVersioned(new EventBuffer(), [], out.parked);
    const left = new Set<string>();
    for (const { half, ordinal } of changes) {
      if (half === "left") left.add(changePosition(last.transaction.commit, ordinal));
    }
    for (let i = 0; i < out.events.length; i++) {
      const side = left.has(out.events.positions[i]!) ? 0 : 1;
      runs.write(partition, encodeEvent(out.events, i, side, contexts));
    }
    await runs.flush(BUFFER_BYTES_MAX);
  }

  /** Merges the partitions' runs, each in log order, into one. */
  async #merge(runs: SpillFiles, contexts: readonly EventContext[]): Promise<void> {
    const heads: MergeHead[] = [];
    for (const partition of runs.used) {
      const head = new MergeHead(runs.lines(partition));
      if (await head.advance()) heads.push(head);
    }
    heads.sort((a, b) => a.compare(b));
    let buffer = new EventBuffer();
    while (heads.length > 0) {
      const head = heads[0]!;
      decodeEvent(head.event, buffer, contexts);
      if (await head.advance()) sinkFirst(heads);
      else heads.shift();
      const full =
        buffer.length >= EVENTS_PER_STAGE || buffer.dataLength >= DATA_LENGTH_PER_STAGE_MAX;
      if (full) {
        failpoint("large-merging");
        await this.#writer.stageVersioned(buffer, [], []);
        buffer = new EventBuffer();
      }
    }
    await this.#writer.stageVersioned(buffer, [], []);
    // The buffers belong to the store until it has taken them.
    await this.#writer.settle();
  }

  #tableIndex(table: SourceTable): number {
    const known = this.#tables.lastIndexOf(table);
    return known >= 0 ? known : this.#tables.push(table) - 1;
  }
}

function partitionOf(stream: string): number {
  return (hashText(stream) >>> 0) % PARTITIONS;
}

/** Restores the order after the first head moved on. Binary search keeps a merge of n files at log n per event. */
function sinkFirst(heads: MergeHead[]): void {
  const head = heads.shift()!;
  let low = 0;
  let high = heads.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (heads[middle]!.compare(head) < 0) low = middle + 1;
    else high = middle;
  }
  heads.splice(low, 0, head);
}

type SpilledEvent = readonly [
  stream: string,
  version: number,
  type: string,
  timeUs: number,
  position: string,
  data: string,
  id: string,
  context: number,
  causationId: string | null,
  side: 0 | 1,
];

class MergeHead {
  event!: SpilledEvent;
  readonly #lines: AsyncIterator<string>;

  constructor(lines: AsyncIterable<string>) {
    this.#lines = lines[Symbol.asyncIterator]();
  }

  async advance(): Promise<boolean> {
    const next = await this.#lines.next();
    if (next.done === true) return false;
    this.event = JSON.parse(next.value) as SpilledEvent;
    return true;
  }

  /** By position. A row's move between two streams has one for both, and is told where it left first. */
  compare(other: MergeHead): number {
    const a = this.event[4];
    const b = other.event[4];
    if (a !== b) return a < b ? -1 : 1;
    return this.event[9] - other.event[9];
  }
}

function encodeEvent(
  events: EventBuffer,
  i: number,
  side: 0 | 1,
  contexts: EventContext[],
): string {
  const context = events.contexts[i]!;
  let index = contexts.lastIndexOf(context);
  if (index < 0) index = contexts.push(context) - 1;
  const event: SpilledEvent = [
    events.streams[i]!,
    events.versions[i]!,
    events.types[i]!,
    events.timesUs[i]!,
    events.positions[i]!,
    events.data[i]!,
    Buffer.from(events.ids.buffer, events.ids.byteOffset + i * 16, 16).toString("hex"),
    index,
    events.causationIds.get(i) ?? null,
    side,
  ];
  return JSON.stringify(event);
}

function decodeEvent(
  event: SpilledEvent,
  buffer: EventBuffer,
  contexts: readonly EventContext[],
): void {
  const [stream, version, type, timeUs, position, data, id, context, causationId] = event;
  copyEvent(buffer, {
    stream,
    version,
    type,
    timeUs,
    position: position as Position,
    data,
    id: Buffer.from(id, "hex"),
    context: contexts[context]!,
    causationId: causationId ?? undefined,
  });
}

/** A cell that is not known is written 0, for JSON has no undefined in arrays. */
type SpilledCells = readonly (string | null | 0)[] | null;

function encodeChange(change: RowChange, table: number, half: RowChange["half"]): string {
  const cells = (row: Cells | undefined): SpilledCells =>
    row === undefined
      ? null
      : row.includes(undefined)
        ? row.map((c) => c ?? (c === null ? null : 0))
        : (row as readonly (string | null)[]);
  return JSON.stringify([
    change.kind,
    table,
    change.ordinal,
    cells(change.before),
    cells(change.after),
    half ?? null,
  ]);
}

function decodeChange(line: string, tables: readonly SourceTable[]): RowChange {
  const [kind, table, ordinal, before, after, half] = JSON.parse(line) as [
    RowChange["kind"],
    number,
    number,
    SpilledCells,
    SpilledCells,
    "left" | "joined" | null,
  ];
  const cells = (row: SpilledCells): Cells | undefined =>
    row === null ? undefined : row.map((cell): Cell => (cell === 0 ? undefined : cell));
  return {
    kind,
    table: tables[table]!,
    ordinal,
    before: cells(before),
    after: cells(after),
    ...(half === null ? {} : { half }),
  };
}
