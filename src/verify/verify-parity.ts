import { setTimeout as sleep } from "node:timers/promises";
import { DigestTable, type RowVerdict } from "./digest-table.ts";
import type { ParityReport, ParitySample, TableParity } from "./parity-report.ts";
import { Digest } from "./row-digest.ts";
import {
  compileMapping,
  plannedTables,
  type Mapping,
  type StreamPlan,
} from "../mapping/compile.ts";
import type { StreamRef } from "../mapping/rules.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import { BanyanError } from "../model/errors.ts";
import { isBefore, type Position } from "../model/position.ts";
import type { Cells } from "../model/table.ts";
import { foldStreams } from "../projection/fold-streams.ts";
import { Folder } from "../projection/fold.ts";
import type { ChangeSource, ParitySnapshot } from "../source/change-source.ts";
import type { EventStore } from "../store/event-store.ts";

export interface VerifyOptions {
  readonly pipeline: string;
  readonly source: ChangeSource;
  readonly store: EventStore;
  readonly streams: Readonly<Record<string, StreamRef>>;
  /** How long to wait for the pipeline to reach the fence. */
  readonly waitMsMax: number;
  /** Differences shown by key and column. */
  readonly samplesMax: number;
  /** Values in samples instead of their lengths. */
  readonly showValues: boolean;
  readonly onProgress?: (progress: { readonly step: string; readonly rows: number }) => void;
}

/**
 * Compares the fold of all streams with all rows, as of one point, while both sides go on changing.
 *
 * A snapshot of the source is taken, then a fence written into its log, and the store awaited there.
 * The store then holds every transaction that the snapshot sees, and perhaps some that it does not:
 * their events carry the transaction's id and are left out of the fold. So lag is never a difference.
 *
 * @throws BanyanError of the source or store; a pipeline that does not reach the fence is not an error
 *   but an inconclusive report
 */
export async function verifyParity(
  options: VerifyOptions,
  signal: AbortSignal,
): Promise<ParityReport> {
  const startedAt = new Date().toISOString();
  const { source, store, pipeline } = options;
  const record = await store.pipeline(pipeline);
  if (record?.checkpoint === undefined) {
    throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${pipeline} has no baseline yet`, {
      hint: "Run: banyan run",
    });
  }
  const tables = await source.discover(plannedTables(options.streams));
  const snapshot = await source.openParity(tables, signal);
  try {
    const mapping = compileMapping(options.streams, snapshot.tables);
    const reached = await waitForFence(options, snapshot.fence, signal);
    if (reached !== undefined) return inconclusive(options, startedAt, snapshot.fence, reached);
    const quarantined = new Set(
      (await store.quarantine.streams(pipeline)).map((entry) => entry.stream),
    );
    const comparison = new Comparison(options, snapshot, mapping, quarantined);
    for (const stream of mapping.streams) await comparison.compare(stream, signal);
    return comparison.report(startedAt);
  } finally {
    await snapshot.close();
  }
}

/** @returns why the fence was not reached, or undefined when it was */
async function waitForFence(
  { store, pipeline, waitMsMax, onProgress }: VerifyOptions,
  fence: Position,
  signal: AbortSignal,
): Promise<string | undefined> {
  const deadline = Date.now() + waitMsMax;
  for (;;) {
    const record = await store.pipeline(pipeline);
    if (record?.checkpoint !== undefined && !isBefore(record.checkpoint, fence)) return undefined;
    signal.throwIfAborted();
    if (Date.now() >= deadline) {
      return `the pipeline did not reach the fence ${fence} within ${Math.round(waitMsMax / 1000)} s; it stands at ${record?.checkpoint ?? "nothing"}`;
    }
    onProgress?.({ step: "waiting for the pipeline to reach the fence", rows: 0 });
    await sleep(50, undefined, { signal });
  }
}

function inconclusive(
  { pipeline }: VerifyOptions,
  startedAt: string,
  fence: Position,
  reason: string,
): ParityReport {
  return {
    state: "inconclusive",
    reasons: [reason],
    pipeline,
    startedAt,
    finishedAt: new Date().toISOString(),
    fence,
    compared: 0,
    present: 0,
    missing: 0,
    extra: 0,
    different: 0,
    tables: [],
    excluded: { streams: 0, rows: 0 },
    samples: [],
    nextSteps: ["banyan status", "banyan run"],
  };
}

/** One comparison at one fence; adds up what the stream types give. */
class Comparison {
  readonly #options: VerifyOptions;
  readonly #snapshot: ParitySnapshot;
  readonly #mapping: Mapping;
  readonly #quarantined: ReadonlySet<string>;
  readonly #tables: TableParity[] = [];
  readonly #samples: ParitySample[] = [];
  #excludedRows = 0;
  #rowsSeen = 0;

  constructor(
    options: VerifyOptions,
    snapshot: ParitySnapshot,
    mapping: Mapping,
    quarantined: ReadonlySet<string>,
  ) {
    this.#options = options;
    this.#snapshot = snapshot;
    this.#mapping = mapping;
    this.#quarantined = quarantined;
  }

  async compare(stream: StreamPlan, signal: AbortSignal): Promise<void> {
    const mappers = stream.roles.map((role) => {
      const table = this.#snapshot.tables.find(
        (candidate) => candidate.name === role.tableRef.name,
      );
      return this.#mapping.mapperOf(table!)!;
    });
    const sides = new Map<string, DigestTable>();
    const present = new Map<string, number>();
    for (const mapper of mappers) {
      const expected = await this.#snapshot.estimateRows(mapper.table);
      sides.set(mapper.role, new DigestTable(expected));
      present.set(mapper.role, 0);
    }
    const identity = new Digest();
    const content = new Digest();
    const addRow = (mapper: TableMapper, streamId: string, cells: Cells): void => {
      identify(identity, streamId, mapper.keyOf(cells));
      content.reset().cells(cells).end();
      sides.get(mapper.role)!.addRow(identity.high, identity.low, content.high, content.low);
    };
    const addFold = (mapper: TableMapper, streamId: string, cells: Cells): void => {
      identify(identity, streamId, mapper.keyOf(cells));
      content.reset().cells(cells).end();
      sides.get(mapper.role)!.addFold(identity.high, identity.low, content.high, content.low);
    };
    // One after the other: side by side, the two would only wait for the same processor.
    for (const mapper of mappers) {
      await this.#eachRow(mapper, signal, addRow, (rows, excluded) => {
        present.set(mapper.role, present.get(mapper.role)! + rows);
        this.#excludedRows += excluded;
      });
    }
    await this.#eachFold(stream, mappers, signal, addFold);

    const suspects = mappers.map((mapper) => ({ mapper, table: sides.get(mapper.role)! }));
    for (const { mapper, table } of suspects) {
      const { equal, missing, extra, different } = table.counts();
      this.#tables.push({
        table: mapper.table.name,
        streamType: stream.type,
        present: present.get(mapper.role)!,
        compared: equal + missing + different,
        missing,
        extra,
        different,
        columns: mapper.table.columns.length,
      });
    }
    const differs = this.#tables.some(
      (t) => t.streamType === stream.type && t.missing + t.extra + t.different > 0,
    );
    if (differs) await this.#sample(stream, mappers, sides, signal);
  }

  /** Reads both sides once more and keeps what the tables of digests found fault with. */
  async #sample(
    stream: StreamPlan,
    mappers: readonly TableMapper[],
    sides: ReadonlyMap<string, DigestTable>,
    signal: AbortSignal,
  ): Promise<void> {
    interface Suspect {
      readonly verdict: Exclude<RowVerdict, "equal">;
      readonly mapper: TableMapper;
      readonly stream: string;
      readonly key: string;
      row: Cells | undefined;
      fold: Cells | undefined;
    }
    const suspects = new Map<string, Suspect>();
    const identity = new Digest();
    const collect =
      (side: "row" | "fold") =>
      (mapper: TableMapper, streamId: string, cells: Cells): void => {
        const key = mapper.keyOf(cells);
        identify(identity, streamId, key);
        const verdict = sides.get(mapper.role)!.verdict(identity.high, identity.low);
        if (verdict === undefined || verdict === "equal") return;
        const id = `${mapper.role}\0${streamId}\0${key}`;
        let suspect = suspects.get(id);
        if (suspect === undefined) {
          if (suspects.size >= this.#options.samplesMax) return;
          suspect = { verdict, mapper, stream: streamId, key, row: undefined, fold: undefined };
          suspects.set(id, suspect);
        }
        suspect[side] = cells;
      };
    for (const mapper of mappers) {
      await this.#eachRow(mapper, signal, collect("row"), () => undefined);
    }
    await this.#eachFold(stream, mappers, signal, collect("fold"));
    for (const { verdict, mapper, stream: id, key, row, fold } of suspects.values()) {
      this.#samples.push({
        verdict,
        table: mapper.table.name,
        stream: id,
        key,
        columns:
          row === undefined || fold === undefined
            ? []
            : differingColumns(mapper, row, fold, this.#options.showValues),
      });
    }
  }

  async #eachRow(
    mapper: TableMapper,
    signal: AbortSignal,
    visit: (mapper: TableMapper, stream: string, cells: Cells) => void,
    count: (rows: number, excluded: number) => void,
  ): Promise<void> {
    for await (const rows of this.#snapshot.readRows(mapper.table, [], signal)) {
      let excluded = 0;
      for (const cells of rows) {
        const id = mapper.streamOf(cells);
        if (this.#quarantined.has(id)) excluded += 1;
        else visit(mapper, id, cells);
      }
      count(rows.length, excluded);
      this.#progress(`reading ${mapper.table.name}`, rows.length);
    }
  }

  async #eachFold(
    stream: StreamPlan,
    mappers: readonly TableMapper[],
    signal: AbortSignal,
    visit: (mapper: TableMapper, stream: string, cells: Cells) => void,
  ): Promise<void> {
    const { store } = this.#options;
    const folder = new Folder(await store.mappings(), this.#mapping.inverses());
    const seen = new Map<string, boolean>();
    const sees = ({ sourceTransaction }: { sourceTransaction: string | undefined }): boolean => {
      if (sourceTransaction === undefined) return true;
      let visible = seen.get(sourceTransaction);
      if (visible === undefined) {
        visible = this.#snapshot.sees(sourceTransaction);
        if (seen.size > 10_000) seen.clear();
        seen.set(sourceTransaction, visible);
      }
      return visible;
    };
    for await (const folded of foldStreams(
      store.readStreamType(stream.type, signal),
      folder,
      sees,
    )) {
      if (this.#quarantined.has(folded.stream)) continue;
      for (const mapper of mappers) {
        const { columns } = mapper.table;
        for (const row of folded.state.get(mapper.role)?.values() ?? []) {
          const cells = columns.map((column) => row[column.name] ?? null);
          visit(mapper, folded.stream, cells);
          this.#progress(`folding ${stream.type}`, 1);
        }
      }
    }
  }

  #progress(step: string, rows: number): void {
    const before = this.#rowsSeen;
    this.#rowsSeen += rows;
    if (Math.floor(before / 10_000) === Math.floor(this.#rowsSeen / 10_000)) return;
    this.#options.onProgress?.({ step, rows: this.#rowsSeen });
  }

  report(startedAt: string): ParityReport {
    const total = (of: (table: TableParity) => number): number =>
      this.#tables.reduce((sum, table) => sum + of(table), 0);
    const [missing, extra, different] = [
      total((t) => t.missing),
      total((t) => t.extra),
      total((t) => t.different),
    ];
    const reasons: string[] = [];
    if (this.#quarantined.size > 0) {
      reasons.push(`${this.#quarantined.size} streams wait in quarantine and were not compared`);
    }
    const found = missing + extra + different > 0;
    const state = found ? "different" : reasons.length > 0 ? "inconclusive" : "equal";
    const first = this.#samples[0];
    return {
      state,
      reasons,
      pipeline: this.#options.pipeline,
      startedAt,
      finishedAt: new Date().toISOString(),
      fence: this.#snapshot.fence,
      compared: total((t) => t.compared),
      present: total((t) => t.present),
      missing,
      extra,
      different,
      tables: this.#tables,
      excluded: { streams: this.#quarantined.size, rows: this.#excludedRows },
      samples: this.#samples,
      nextSteps: [
        ...(first === undefined ? [] : [`banyan history ${quoteArgument(first.stream)}`]),
        ...(this.#quarantined.size > 0 ? ["banyan quarantine list"] : []),
        ...(found && !this.#options.showValues ? ["banyan verify --show-values"] : []),
      ],
    };
  }
}

function identify(digest: Digest, stream: string, key: string): void {
  digest.reset().text(stream).text(key).end();
}

function differingColumns(
  { table }: TableMapper,
  row: Cells,
  fold: Cells,
  showValues: boolean,
): ParitySample["columns"] {
  const show = (cell: string | null | undefined): string | null =>
    cell === null || cell === undefined ? null : showValues ? cell : `‹${cell.length} characters›`;
  return table.columns.flatMap((column, i) =>
    row[i] === fold[i] ? [] : [{ column: column.name, row: show(row[i]), fold: show(fold[i]) }],
  );
}

function quoteArgument(text: string): string {
  return /^[\w.,:@-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
