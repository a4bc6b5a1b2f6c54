import {
  addLedger,
  type BaselineProgress,
  type DriftNote,
  type MappingNote,
  type NotReadAnew,
  type PipelineStatus,
} from "./status.ts";
import type { MappingCoverage } from "../mapping/coverage.ts";
import type { Drift } from "../mapping/drift.ts";
import { BanyanError } from "../model/errors.ts";
import type { Position } from "../model/position.ts";
import type { Ledger, PipelinePhase, PipelineRecord } from "../store/event-store.ts";

const DRIFT_NOTES_MAX = 100;
const NOT_READ_NOTES_MAX = 100;
const RATE_WINDOW_MS = 10_000;
const COVERAGE_MS = 1_000;

/** Keeps what a running pipeline knows of itself and gives it out as {@link PipelineStatus}. */
export class StatusBoard {
  readonly #pipeline: string;
  readonly #startedAt = new Date().toISOString();
  readonly #clock: () => number;
  readonly #drift: DriftNote[] = [];
  readonly #notReadAnew: NotReadAnew[] = [];
  readonly #samples: { atMs: number; changes: number; events: number }[] = [];
  #phase: PipelinePhase;
  #ledger: Ledger;
  #checkpoint: Position | undefined;
  #baselinePosition: Position | undefined;
  #head: Position | undefined;
  #lagBytes = 0;
  #lagSeconds = 0;
  #quarantined = 0;
  #baseline: BaselineProgress | undefined;
  #failure: PipelineStatus["failure"];
  #mapping: MappingNote | undefined;
  #readCoverage: (() => MappingCoverage) | undefined;
  #coverage: MappingCoverage | undefined;
  #coveredAtMs = -Infinity;

  constructor(record: PipelineRecord, clock: () => number = Date.now) {
    this.#pipeline = record.name;
    this.#phase = record.phase;
    this.#ledger = record.ledger;
    this.#checkpoint = record.checkpoint;
    this.#baselinePosition = record.baselinePosition;
    this.#mapping = (record.status as Partial<PipelineStatus>).mapping;
    this.#clock = clock;
    this.#sample();
  }

  get ledger(): Ledger {
    return this.#ledger;
  }

  enter(phase: PipelinePhase): void {
    this.#phase = phase;
  }

  /** Notes a durable commit. */
  committed(delta: Partial<Ledger>, checkpoint: Position | undefined): void {
    this.#ledger = addLedger(this.#ledger, delta);
    this.#checkpoint = checkpoint ?? this.#checkpoint;
    this.#sample();
  }

  /** @param oldestUs commit time of the oldest transaction not yet applied, in microseconds; undefined when none waits */
  lag(head: Position, bytes: number, oldestUs: number | undefined): void {
    this.#head = head;
    this.#lagBytes = bytes;
    this.lagSeconds(oldestUs);
  }

  lagSeconds(oldestUs: number | undefined): void {
    this.#lagSeconds =
      oldestUs === undefined ? 0 : Math.max(0, this.#clock() / 1000 - oldestUs / 1_000_000);
  }

  /** Events from here on are told by this version of the mapping. */
  mapped(version: number): void {
    if (version === this.#mapping?.version) return;
    const since = this.#checkpoint;
    this.#mapping = since === undefined ? { version } : { version, since };
  }

  /** @param read asked about once a second, because the status is told with every commit */
  covers(read: () => MappingCoverage): void {
    this.#readCoverage = read;
  }

  quarantined(streams: number): void {
    this.#quarantined = streams;
  }

  baselining(progress: BaselineProgress): void {
    this.#baseline = progress;
  }

  baselined(position: Position): void {
    this.#baselinePosition = position;
  }

  /** Notes what the run, or this attempt of it, ends with. */
  failed(error: unknown): void {
    const known = error instanceof BanyanError;
    this.#failure = {
      code: known ? error.code : "UNKNOWN",
      message: error instanceof Error ? error.message : String(error),
      hint: (known ? error.hint : undefined) ?? "See docs/errors.md.",
    };
  }

  drifted(drift: Drift): void {
    const { broken, ...rest } = drift;
    if (this.#drift.length < DRIFT_NOTES_MAX) this.#drift.push({ ...rest, stops: broken?.message });
  }

  notReadAnew(note: NotReadAnew): void {
    this.#notReadAnew.push(note);
    if (this.#notReadAnew.length > NOT_READ_NOTES_MAX) this.#notReadAnew.shift();
  }

  snapshot(): PipelineStatus {
    const first = this.#samples[0]!;
    const last = this.#samples.at(-1)!;
    const seconds = Math.max(0.001, (this.#clock() - first.atMs) / 1000);
    const coverage = this.#covered();
    const idle = this.#clock() - last.atMs > RATE_WINDOW_MS;
    return {
      pipeline: this.#pipeline,
      phase: this.#phase,
      processId: process.pid,
      startedAt: this.#startedAt,
      updatedAt: new Date(this.#clock()).toISOString(),
      positions: {
        checkpoint: this.#checkpoint,
        baseline: this.#baselinePosition,
        head: this.#head,
      },
      lag: { bytes: this.#lagBytes, seconds: round(this.#lagSeconds) },
      rates: {
        changesPerSecond: idle ? 0 : Math.round((last.changes - first.changes) / seconds),
        eventsPerSecond: idle ? 0 : Math.round((last.events - first.events) / seconds),
      },
      ledger: this.#ledger,
      quarantine: { streams: this.#quarantined },
      baseline: this.#baseline,
      ...(this.#mapping === undefined ? {} : { mapping: this.#mapping }),
      ...(coverage === undefined ? {} : { coverage }),
      drift: [...this.#drift],
      ...(this.#notReadAnew.length === 0 ? {} : { notReadAnew: [...this.#notReadAnew] }),
      ...(this.#failure === undefined ? {} : { failure: this.#failure }),
    };
  }

  #covered(): MappingCoverage | undefined {
    const nowMs = this.#clock();
    const isDue = nowMs - this.#coveredAtMs >= COVERAGE_MS || this.#phase === "stopped";
    if (this.#readCoverage !== undefined && isDue) {
      this.#coveredAtMs = nowMs;
      const coverage = this.#readCoverage();
      this.#coverage = coverage.tables.length === 0 ? undefined : coverage;
    }
    return this.#coverage;
  }

  #sample(): void {
    const atMs = this.#clock();
    const newest = this.#samples.at(-1);
    const sample = { atMs, changes: this.#ledger.changesIn, events: this.#ledger.events };
    // At most ten samples a second, so that the window stays small whatever the batch rate.
    const previous = this.#samples.at(-2);
    if (newest !== undefined && previous !== undefined && atMs - previous.atMs < 100) {
      this.#samples[this.#samples.length - 1] = sample;
    } else this.#samples.push(sample);
    while (this.#samples.length > 2 && atMs - this.#samples[0]!.atMs > RATE_WINDOW_MS) {
      this.#samples.shift();
    }
  }
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000;
}
