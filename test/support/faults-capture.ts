import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import { openPostgresEventStore } from "../../connectors/postgres/event-store.ts";
import {
  openPostgresSource,
  type PostgresSourceOptions,
} from "../../connectors/postgres/source.ts";
import type { Drift } from "../../src/mapping/drift.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { BanyanError } from "../../src/model/errors.ts";
import { runPipeline } from "../../src/pipeline/pipeline.ts";
import type { PipelineStatus } from "../../src/pipeline/status.ts";
import type { TailLimits } from "../../src/pipeline/tail.ts";
import { runWithRetry } from "../../src/runtime/loop.ts";
import type { EventStore } from "../../src/store/event-store.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity } from "../../src/verify/verify-parity.ts";
import { bankStreams, type Bank, type Traffic } from "./faults-bank.ts";
import { expectExactEvents } from "./faults-truth.ts";
import { createDatabase, type TestDatabase } from "./databases.ts";
import { startTcpProxy, type TcpProxy } from "./tcp-proxy.ts";

export const PIPELINE = "bank";

/** Small and quick, so that a test sees many commits and short waits. */
const LIMITS: TailLimits = {
  batchChangesMax: 2_000,
  batchBytesMax: 4 * 1024 * 1024,
  lingerMs: 2,
  transactionChangesMax: 5_000,
  transactionBytesMax: 8 * 1024 * 1024,
  idleMs: 100,
};
/** Of what comes in a moment, unless the machine is busy with other tests. */
const WAIT_MS_MAX = 60_000;
const CATCH_UP_MS_MAX = 60_000;
/** More changes than can be on their way: a capture that has written them goes on as if nothing had been. */
const UNHARMED_CHANGES = 1_000;

/** A bank, an empty store, and a proxy in front of each. */
export interface Scene extends AsyncDisposable {
  readonly bank: Bank;
  readonly store: TestDatabase;
  readonly toSource: TcpProxy;
  readonly toStore: TcpProxy;
}

export async function openScene(bank: Bank, store?: TestDatabase): Promise<Scene> {
  const events = store ?? (await createDatabase("events"));
  const toSource = await startTcpProxy(addressOf(bank.db.url));
  const toStore = await startTcpProxy(addressOf(events.url));
  return {
    bank,
    store: events,
    toSource,
    toStore,
    async [Symbol.asyncDispose]() {
      await toSource[Symbol.asyncDispose]();
      await toStore[Symbol.asyncDispose]();
      await events[Symbol.asyncDispose]();
      await bank[Symbol.asyncDispose]();
    },
  };
}

function addressOf(url: string): { host: string; port: number } {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: Number(port) };
}

export interface CaptureOptions {
  readonly limits?: Partial<TailLimits>;
  readonly source?: Partial<PostgresSourceOptions>;
  readonly streams?: Readonly<Record<string, StreamRef>>;
  /** Added to the store's URL as query parameters. */
  readonly storeParameters?: string;
}

/** `banyan run` in this process: attempts with a source of their own, over one store. */
export class Capture implements AsyncDisposable {
  readonly retries: BanyanError[] = [];
  readonly drift: Drift[] = [];
  status: PipelineStatus | undefined;
  /** Resolves when it was stopped, rejects with what ended it for good. */
  readonly ended: Promise<void>;
  readonly #stop = new AbortController();
  readonly #scene: Scene;
  readonly #options: CaptureOptions;

  constructor(scene: Scene, options: CaptureOptions = {}) {
    this.#scene = scene;
    this.#options = options;
    this.ended = this.#run();
    this.ended.catch(() => undefined);
  }

  get codes(): readonly string[] {
    return this.retries.map(({ code }) => code);
  }

  async #run(): Promise<void> {
    const { bank, toSource, toStore, store: events } = this.#scene;
    const { limits, source: sourceOptions, streams, storeParameters } = this.#options;
    const { signal } = this.#stop;
    const spill = mkdtempSync(join(tmpdir(), "banyan-faults-"));
    const storeUrl = toStore.url(events.url);
    const store = await openPostgresEventStore({
      url: storeParameters === undefined ? storeUrl : withParameters(storeUrl, storeParameters),
    });
    const attempt = async (): Promise<void> => {
      const source = openPostgresSource({
        url: toSource.url(bank.db.url),
        slot: bank.slot,
        publication: bank.publication,
        ...sourceOptions,
      });
      try {
        await runPipeline(
          {
            name: PIPELINE,
            source,
            store,
            streams: streams ?? bankStreams(),
            limits: { ...LIMITS, ...limits },
            spillDirectory: join(spill, "spill"),
            onProgress: (status) => (this.status = status),
            onDrift: (drift) => void this.drift.push(drift),
          },
          signal,
        );
      } finally {
        await source.close();
      }
    };
    try {
      await runWithRetry({
        signal,
        attempt,
        backoffMsMin: 20,
        backoffMsMax: 200,
        steadyMs: 5_000,
        onRetry: ({ error }) => void this.retries.push(error),
      });
    } finally {
      await store.close();
      rmSync(spill, { recursive: true, force: true });
    }
  }

  /** Waits for the log to be followed, or fails with what ended the run. */
  async untilTailing(): Promise<void> {
    await this.until(() => this.status?.phase === "tail", "the log to be followed");
  }

  /** Changes in the store, as far as it has told. */
  get changes(): number {
    return this.status?.ledger.changesIn ?? 0;
  }

  /** Waits until the store holds at least so many more changes than now, or than there were. */
  async untilMore(changes = 50, before = this.changes): Promise<void> {
    await this.until(() => this.changes >= before + changes, `${changes} more changes`);
  }

  /**
   * Waits for what a cut comes to: a retry, or nothing at all. It may hit a session whose loss costs
   * nobody anything, as one that only asks how far the log has come; then the capture goes on.
   *
   * @param isCut see `TcpProxy.cutAfter`
   * @param retries how many there had been before
   */
  async untilOver(isCut: () => boolean, retries: number, what: string): Promise<void> {
    let enough = Infinity;
    let before = -1;
    let deadline = 0;
    const isOver = (): boolean => {
      // As long as something comes it is slow, and not stuck.
      const now = this.changes + this.retries.length;
      if (now > before) deadline = Date.now() + WAIT_MS_MAX;
      before = Math.max(before, now);
      if (Date.now() > deadline) throw new Error(`nothing comes any more: ${what}`);
      if (!isCut()) return false;
      enough = Math.min(enough, this.changes + UNHARMED_CHANGES);
      return this.retries.length > retries || this.changes >= enough;
    };
    await this.until(isOver, what, Infinity);
  }

  async untilRetry(code: string, ms = WAIT_MS_MAX): Promise<BanyanError> {
    await this.until(() => this.codes.includes(code), `a retry for ${code}`, ms);
    return this.retries.find((error) => error.code === code)!;
  }

  async until(check: () => boolean, what: string, ms = WAIT_MS_MAX): Promise<void> {
    let ended: { readonly error?: unknown } | undefined;
    this.ended.then(
      () => (ended = {}),
      (error: unknown) => (ended = { error }),
    );
    await eventually(what, ms, () => {
      if (check()) return true;
      if (ended === undefined) return false;
      throw ended.error ?? new Error("the capture has ended");
    });
  }

  /** What ended the run for good; fails when it does not end by itself. */
  async failure(ms = WAIT_MS_MAX): Promise<BanyanError> {
    const late = sleep(ms).then(() => {
      throw new Error(`the capture goes on; it retried for ${this.codes.join(", ")}`);
    });
    try {
      await Promise.race([this.ended, late]);
    } catch (error) {
      return error as BanyanError;
    }
    throw new Error("the capture was stopped");
  }

  /** Drains and ends, in bounded time. */
  async stop(): Promise<void> {
    this.#stop.abort();
    const late = sleep(WAIT_MS_MAX, "late");
    const outcome = await Promise.race([this.ended, late]);
    if (outcome === "late") throw new Error("the capture did not end in time");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop().catch(() => undefined);
  }
}

/** The store, on connections that no fault touches. */
export async function openStoreOf(scene: Scene): Promise<EventStore & AsyncDisposable> {
  const store = await openPostgresEventStore({ url: scene.store.url });
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}

/** Fold against rows while the capture runs, on connections that no fault touches. */
export async function parityOf(
  scene: Scene,
  options: Pick<CaptureOptions, "streams"> = {},
): Promise<ParityReport> {
  const { db, slot, publication } = scene.bank;
  const source = openPostgresSource({ url: db.url, slot, publication });
  await using store = await openStoreOf(scene);
  try {
    return await verifyParity(
      {
        pipeline: PIPELINE,
        source,
        store,
        streams: options.streams ?? bankStreams(),
        waitMsMax: CATCH_UP_MS_MAX,
        samplesMax: 5,
        showValues: true,
      },
      new AbortController().signal,
    );
  } finally {
    await source.close();
  }
}

/**
 * The end of a fault test: the traffic stops, the fold equals the rows, the capture drains, and the
 * events are the truth one to one.
 */
export async function expectIntact(
  scene: Scene,
  capture: Capture,
  traffic?: Traffic,
): Promise<{ events: number }> {
  await traffic?.stop();
  const parity = await parityOf(scene);
  expect(parity, `${JSON.stringify(parity, undefined, 1)}`).toMatchObject({ state: "equal" });
  expect(parity.present).toBeGreaterThan(0);
  await capture.stop();
  return await expectExactEvents(scene.bank.db, scene.store);
}

/** Asks again until it is so, or fails. */
export async function eventually(
  what: string,
  ms: number,
  check: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await check())) {
    if (Date.now() > deadline) throw new Error(`waited ${ms} ms in vain for ${what}`);
    await sleep(10);
  }
}

/** Random numbers of a test that can be had again: BANYAN_TEST_SEED=…; the seed is printed. */
export function seedOf(test: string): number {
  const asked = process.env["BANYAN_TEST_SEED"];
  const seed = asked === undefined ? Math.floor(Math.random() * 1_000_000) : Number(asked);
  process.stderr.write(`${test}: BANYAN_TEST_SEED=${seed}\n`);
  return seed;
}

export const isNightly = process.env["BANYAN_TEST_BUDGET"] === "nightly";

function withParameters(url: string, parameters: string): string {
  return `${url}${url.includes("?") ? "&" : "?"}${parameters}`;
}
