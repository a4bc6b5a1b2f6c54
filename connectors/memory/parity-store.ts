import { bytewise } from "./bytewise.ts";
import { foldEvent, type MemoryState } from "./state.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { SomeBuckets } from "../../src/model/buckets.ts";
import { emptySums } from "../../src/source/row-hash.ts";
import type { Origin } from "../../src/model/event.ts";
import type { FoldEvent } from "../../src/store/event-store.ts";
import type {
  EventCounts,
  FoldScope,
  FoldSnapshot,
  FoldSums,
  KeptParity,
  ParityFinding,
  ParityStore,
  ParityUpdate,
  ReverseState,
  SavedReport,
  StreamChanges,
} from "../../src/store/parity-store.ts";

const DECIDED: ReadonlySet<string> = new Set(["native", "import"]);

interface Entry {
  readonly stream: string;
  readonly role: number;
  readonly key: bigint;
  readonly count: number;
  readonly sum: bigint;
}

interface Folds {
  readonly fingerprint: string;
  /** Length of the log that they hold. */
  foldedTo: number;
  readonly byStream: Map<string, readonly Entry[]>;
}

/** Parity's part of the memory store. */
export class MemoryParityStore implements ParityStore {
  readonly #state: MemoryState;
  readonly #folds = new Map<string, Folds>();
  readonly #reports = new Map<string, SavedReport>();
  readonly #findings = new Map<string, readonly ParityFinding[]>();

  #settled = 0;

  constructor(state: MemoryState) {
    this.#state = state;
  }

  behind(scope: FoldScope, limit: number): Promise<number | undefined> {
    const from = this.#foldsOf(scope)?.foldedTo;
    if (from === undefined) return Promise.resolve(undefined);
    const missing = this.#state.log.slice(from).filter(isOf(scope));
    return Promise.resolve(Math.min(limit, missing.length));
  }

  async advance(
    scope: FoldScope,
    fold: (events: AsyncIterable<readonly FoldEvent[]>) => AsyncIterable<FoldSums>,
    signal: AbortSignal,
  ): Promise<void> {
    const known = this.#foldsOf(scope);
    const { fingerprint } = scope;
    const folds = known ?? { fingerprint, foldedTo: 0, byStream: new Map<string, Entry[]>() };
    const to = this.#state.log.length;
    for await (const sums of fold(this.#events(this.#touched(scope, folds.foldedTo)))) {
      for (const stream of sums.folded) folds.byStream.delete(stream);
      for (const entry of entriesOf(sums)) {
        const before = folds.byStream.get(entry.stream) ?? [];
        folds.byStream.set(entry.stream, [...before, entry]);
      }
      signal.throwIfAborted();
    }
    folds.foldedTo = to;
    this.#folds.set(nameOf(scope), folds);
  }

  forget(pipeline: string): Promise<void> {
    for (const name of this.#folds.keys())
      if (name.startsWith(`${pipeline}/`)) this.#folds.delete(name);
    return Promise.resolve();
  }

  async openFolds(scope: FoldScope): Promise<FoldSnapshot> {
    const folds = this.#foldsOf(scope);
    if (folds === undefined) {
      throw new BanyanError("STORE_REFUSED", `there are no folds of ${scope.streamType}`, {
        detail: { foldsGone: true },
      });
    }
    const byStream = new Map(folds.byStream);
    const all = [...byStream.values()].flat();
    const touched = this.#touched(scope, folds.foldedTo);
    const { log, parked } = this.#state;
    const to = log.length;
    return {
      sums(role: number, buckets: number, within?: SomeBuckets) {
        const sums = emptySums(buckets);
        for (const entry of all) {
          if (entry.role !== role) continue;
          const isIn = within?.wanted.includes(Number(entry.key & BigInt(within.buckets - 1)));
          if (isIn === false) continue;
          const bucket = Number(entry.key & BigInt(buckets - 1));
          sums.counts[bucket]! += entry.count;
          sums.sums[bucket]! += entry.sum;
        }
        return Promise.resolve(sums);
      },
      foldsOf: (streams) =>
        Promise.resolve(sumsOf(streams.flatMap((stream) => byStream.get(stream) ?? []))),
      foldsIn(buckets, wanted, role) {
        const isIn = (entry: Entry): boolean =>
          entry.role === role && wanted.includes(Number(entry.key & BigInt(buckets - 1)));
        return Promise.resolve(sumsOf(all.filter(isIn)));
      },
      decided(after, limit) {
        const kept = all.filter(({ role }) => role === -1).map(({ stream }) => stream);
        const late = log
          .slice(Number(after ?? 0), to)
          .filter((event) => isOf(scope)(event) && DECIDED.has(event.origin))
          .map(({ stream }) => stream);
        const streams = after === undefined ? kept : [...new Set(late)];
        return Promise.resolve(streams.slice(0, limit));
      },
      flawed(limit) {
        const skipped = new Set(
          parked
            .filter(({ pipeline, state }) => pipeline === scope.pipeline && state === "skipped")
            .map(({ record }) => record.stream),
        );
        const streams = all.filter(({ role }) => role === -2).map(({ stream }) => stream);
        const named = streams.sort(bytewise).slice(0, limit);
        return Promise.resolve(
          named.map((stream) => ({ stream, hasSkipped: skipped.has(stream) })),
        );
      },
      touched: () => this.#events(touched, to),
      events: (streams) => this.#events(streams, to),
      close: () => Promise.resolve(),
    };
  }

  countEvents(): Promise<EventCounts> {
    const isCounted = ({ origin }: { readonly origin: Origin }): boolean => !DECIDED.has(origin);
    const stored = this.#state.log.filter(isCounted).length;
    const told = [...this.#state.pipelines.values()].reduce(
      (sum, { record }) => sum + record.ledger.events,
      0,
    );
    return Promise.resolve({ stored, told, settled: this.#settled });
  }

  async settleEvents(): Promise<void> {
    const { stored, told } = await this.countEvents();
    this.#settled = stored - told;
  }

  reverse(): Promise<ReverseState> {
    return Promise.resolve({ after: undefined, conflicts: [] });
  }

  changedSince(
    streamTypes: readonly string[],
    since: string | undefined,
    limit: number,
  ): Promise<StreamChanges> {
    const place = String(this.#state.log.length);
    const isWanted = ({ stream }: { readonly stream: string }): boolean =>
      streamTypes.some((type) => stream.startsWith(`${type}-`));
    const changed = this.#state.log.slice(Number(since ?? place)).filter(isWanted);
    const all = [...new Set(changed.map(({ stream }) => stream))];
    return Promise.resolve({
      streams: all.slice(0, limit),
      total: all.length,
      place,
      end: place,
    });
  }

  report(pipeline: string): Promise<SavedReport | undefined> {
    return Promise.resolve(this.#reports.get(pipeline));
  }

  findings(pipeline: string): Promise<readonly ParityFinding[]> {
    return Promise.resolve(this.#findings.get(pipeline) ?? []);
  }

  update(pipeline: string, change: (kept: KeptParity) => ParityUpdate): Promise<void> {
    const now = new Date().toISOString();
    const before = this.#reports.get(pipeline);
    const kept = { report: before, findings: this.#findings.get(pipeline) ?? [], now };
    const { findings, report, isAmended = false } = change(kept);
    this.#findings.set(pipeline, structuredClone(findings));
    if (report !== undefined) {
      const savedAt = isAmended ? (before?.savedAt ?? now) : now;
      this.#reports.set(pipeline, { report: structuredClone(report), savedAt });
    }
    return Promise.resolve();
  }

  #foldsOf(scope: FoldScope): Folds | undefined {
    const folds = this.#folds.get(nameOf(scope));
    return folds?.fingerprint === scope.fingerprint ? folds : undefined;
  }

  #touched(scope: FoldScope, from: number): readonly string[] {
    const streams = this.#state.log
      .slice(from)
      .filter(isOf(scope))
      .map(({ stream }) => stream);
    return [...new Set(streams)];
  }

  /** @param to of the log: how much of it counts */
  async *#events(
    streams: readonly string[],
    to = this.#state.log.length,
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    const later = new Set(this.#state.log.slice(to));
    const ordered = [...new Set(streams)].sort(bytewise);
    for (const stream of ordered) {
      const events = this.#state.streams.get(stream) ?? [];
      yield structuredClone(events.filter((event) => !later.has(event)).map(foldEvent));
    }
  }
}

function nameOf({ pipeline, streamType }: FoldScope): string {
  return `${pipeline}/${streamType}`;
}

function isOf({ streamType }: FoldScope): (event: { readonly stream: string }) => boolean {
  return ({ stream }) => stream.startsWith(`${streamType}-`);
}

function entriesOf({ streams, roles, keys, counts, sums }: FoldSums): readonly Entry[] {
  return streams.map((stream, i) => ({
    stream,
    role: roles[i]!,
    key: keys[i]!,
    count: counts[i]!,
    sum: sums[i]!,
  }));
}

function sumsOf(entries: readonly Entry[]): FoldSums {
  return {
    folded: [],
    streams: entries.map(({ stream }) => stream),
    roles: entries.map(({ role }) => role),
    keys: entries.map(({ key }) => key),
    counts: entries.map(({ count }) => count),
    sums: entries.map(({ sum }) => sum),
  };
}
