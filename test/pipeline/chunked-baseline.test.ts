import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { child, stream, table } from "../../src/mapping/rules.ts";
import { compileMapping } from "../../src/mapping/compile.ts";
import { BanyanError } from "../../src/model/errors.ts";
import { rowsExpected } from "../../src/pipeline/baseline-record.ts";
import { rebaselinePipeline } from "../../src/pipeline/rebaseline.ts";
import { runPipeline } from "../../src/pipeline/pipeline.ts";
import { foldStreams } from "../../src/projection/fold-streams.ts";
import { Folder } from "../../src/projection/fold.ts";
import { TEST_LIMITS } from "../support/live-pipeline.ts";
import { MemoryDatabase } from "../support/memory-database.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { brokenStreams } from "../support/unbroken-streams.ts";

const NIGHTLY = process.env["BANYAN_TEST_BUDGET"] === "nightly";
const HISTORIES = NIGHTLY ? 2_000 : 60;
const HISTORIES_MAX = 4 * HISTORIES;
const RUN_MS_MAX = 60_000;

const parent = table<{ id: number; n: number }>("parent");
const kid = table<{ id: number; pid: number; n: number }>("child");
const STREAMS = {
  parent: stream(parent, {
    children: { children: child(kid, { pid: "id" }) },
    otherwise: "ParentAmended",
  }),
};
const SHAPES = { parent: { root: "parent", keys: { parent: ["id"], children: ["id"] } } };

const spillDirectory = mkdtempSync(join(tmpdir(), "banyan-chunks-"));
afterAll(() => rmSync(spillDirectory, { recursive: true, force: true }));

function optionsOf(db: MemoryDatabase, store: MemoryEventStore, random: () => number) {
  return {
    name: "memory",
    source: db.open(),
    store,
    streams: STREAMS,
    spillDirectory,
    limits: { ...TEST_LIMITS, idleMs: 1, batchChangesMax: Math.floor(1 + 20 * random()) },
    baseline: "chunked" as const,
    pace: {
      baselineSessionsMax: 1_000,
      baselineLagSecondsMax: 1_000_000_000,
      baselineSlowdownMax: 1,
      baselineChunkRowsMax: Math.floor(1 + 6 * random()),
      // Not at all, or behind the first aggregate that takes any time.
      ...(random() < 0.5 ? {} : { baselineChunkMsMax: 0 }),
    },
  };
}

/** As a kill would: what was begun comes to nothing. */
async function kill(store: MemoryEventStore): Promise<void> {
  await store.openCapture("memory", "memory://1/1");
}

/** Begins the log anew after its place was lost; killed after some commits, or read to its end. */
async function rebaseline(
  db: MemoryDatabase,
  store: MemoryEventStore,
  random: () => number,
): Promise<void> {
  const stop = new AbortController();
  const deadline = AbortSignal.timeout(RUN_MS_MAX);
  let commits = Math.floor(1 + 25 * random());
  const onProgress = (): void => {
    db.tick();
    commits -= 1;
    if (commits !== 0) return;
    void kill(store);
    stop.abort();
  };
  const options = { ...optionsOf(db, store, random), onProgress };
  const yes = (): Promise<boolean> => Promise.resolve(true);
  const signal = AbortSignal.any([stop.signal, deadline]);
  await rebaselinePipeline(options, yes, signal);
  deadline.throwIfAborted();
}

/** A run of the pipeline, which is taken over by another one or comes to the end of the log. */
async function run(
  db: MemoryDatabase,
  store: MemoryEventStore,
  random: () => number,
  isLast: boolean,
): Promise<void> {
  const stop = new AbortController();
  const deadline = AbortSignal.timeout(RUN_MS_MAX);
  let commits = Math.floor(1 + 12 * random());
  const options = {
    ...optionsOf(db, store, random),
    onProgress: () => {
      db.tick();
      commits -= 1;
      if (random() < 0.15) {
        const ids = [1, 2, 3].map(() => Math.floor(25 * random()));
        const asked = ids.map((id) => (id === 0 ? String.raw`parent-\0` : `parent-${id}`));
        void store.requestRebaseline("memory", asked, "a test asks for it");
      }
      if (!isLast && commits === 0) void kill(store);
    },
  };
  const running = runPipeline(options, AbortSignal.any([stop.signal, deadline]));
  const watching = (async () => {
    while (!stop.signal.aborted && !deadline.aborted) {
      const record = await store.pipeline("memory");
      const isRead = record?.baselines?.every(({ done }) => done) === true;
      const isAt = db.isOver && isRead && record.checkpoint! >= db.end;
      const left = isAt ? await store.rebaselineRequests("memory", "0", 1) : [];
      if (isLast && isAt && left.length === 0) stop.abort();
      db.tick();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  })();
  try {
    await running;
  } catch (error) {
    if (!(error instanceof BanyanError) || error.code !== "PIPELINE_FENCED" || isLast) throw error;
  } finally {
    stop.abort();
    await watching;
  }
  deadline.throwIfAborted();
}

async function folded(store: MemoryEventStore): Promise<string[]> {
  const inverses = compileMapping(STREAMS, []).inverses();
  const folder = new Folder(await store.mappings(), inverses);
  const rows: string[] = [];
  const events = store.readStreamType("parent", AbortSignal.timeout(RUN_MS_MAX));
  for await (const { state } of foldStreams(events, folder)) {
    for (const [role, all] of state)
      for (const row of all.values()) rows.push(JSON.stringify([role, row]));
  }
  return rows.sort();
}

function rowsOf(db: MemoryDatabase): string[] {
  const parents = db.rowsOf("parent").map(([id, n]) => ["parent", { id, n }]);
  const children = db.rowsOf("child").map(([id, pid, n]) => ["children", { id, pid, n }]);
  return [...parents, ...children].map((row) => JSON.stringify(row)).sort();
}

describe.each(["full", "default"] as const)("with replica identity %s", (identity) => {
  test(`${HISTORIES} random histories, chunks, kills and streams read anew end with the rows of the source, each change told once`, async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000_000);
    process.stderr.write(`seed ${seed}\n`);
    let chunks = 0;
    for (let n = 0; n < HISTORIES; n++) {
      const random = seededRandom(seed + n);
      const size = {
        transactions: 20 + Math.floor(180 * random()),
        keys: 4 + Math.floor(20 * random()),
      };
      const db = new MemoryDatabase(identity, random, size);
      const store = new MemoryEventStore();
      const kills = Math.floor(4 * random());
      for (let k = 0; k <= kills; k++) await run(db, store, random, k === kills);
      const at = `seed ${seed + n}`;
      const parked = await store.quarantine.list({});
      expect({ at, parked: parked.map(({ reason }) => reason) }).toEqual({ at, parked: [] });
      expect({ at, broken: await brokenStreams(store, SHAPES) }).toEqual({ at, broken: [] });
      expect({ at, rows: await folded(store) }).toEqual({ at, rows: rowsOf(db) });
      chunks += (await store.pipeline("memory"))!.baselines![0]!.chunksRead;
    }
    expect(chunks).toBeGreaterThan(3 * HISTORIES);
  }, 600_000);

  test(`${HISTORIES} random histories in which the place in the log is lost, once or again in the midst, end likewise`, async () => {
    const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000_000);
    process.stderr.write(`seed ${seed}\n`);
    const counts = { losses: 0, midway: 0, gone: 0 };
    const isTooLittle = (): boolean => Math.min(counts.midway, counts.gone) <= HISTORIES / 4;
    // Of what is drawn there may be few at times: then it goes on until enough was seen.
    for (let n = 0; n < HISTORIES || (isTooLittle() && n < HISTORIES_MAX); n++) {
      const random = seededRandom(seed + n);
      const size = {
        transactions: 100 + Math.floor(300 * random()),
        keys: 4 + Math.floor(20 * random()),
      };
      const db = new MemoryDatabase(identity, random, size);
      const store = new MemoryEventStore();
      await run(db, store, random, false);
      for (let losses = 1 + Math.floor(2 * random()); losses > 0; losses--) {
        await run(db, store, random, false);
        db.lose();
        counts.losses += 1;
        await rebaseline(db, store, random);
        const { baselines = [] } = (await store.pipeline("memory"))!;
        counts.midway += Number(baselines.some(({ done }) => !done));
        if (random() < 0.5) await run(db, store, random, false);
      }
      await run(db, store, random, true);
      const at = `seed ${seed + n}`;
      const parked = await store.quarantine.list({});
      expect({ at, parked: parked.map(({ reason }) => reason) }).toEqual({ at, parked: [] });
      expect({ at, broken: await brokenStreams(store, SHAPES) }).toEqual({ at, broken: [] });
      expect({ at, rows: await folded(store) }).toEqual({ at, rows: rowsOf(db) });
      counts.gone += (await store.pipeline("memory"))!.baselines![0]!.gap!.gone;
    }
    expect(counts.midway).toBeGreaterThan(HISTORIES / 4);
    expect(counts.gone).toBeGreaterThan(HISTORIES / 4);
  }, 600_000);
});

test("a guess about what was read to its end counts no longer, in either direction", () => {
  const guessed = { rowsEstimated: 100 };
  expect(rowsExpected({ ...guessed, done: false, rowsRead: 40 })).toBe(100);
  expect(rowsExpected({ ...guessed, done: false, rowsRead: 140 })).toBe(140);
  expect(rowsExpected({ ...guessed, done: true, rowsRead: 40 })).toBe(40);
  expect(rowsExpected({ ...guessed, done: true, rowsRead: 140 })).toBe(140);
});
