import { describe, expect, test } from "vitest";
import { ChunkSlices } from "../../src/pipeline/chunk-slices.ts";
import { Crowding } from "../../src/pipeline/crowding.ts";
import type { SourceLoad } from "../../src/source/change-source.ts";

const LOOK_MS = 100;
const CHUNK_MS = 500;

/** What others do in a second: while the baseline reads, and while it rests. */
interface Others {
  readonly sessions: readonly [reading: number, resting: number];
  readonly transactions: readonly [reading: number, resting: number];
}

/** A baseline of one stream type beside others, in a time of its own. */
class Simulation {
  readonly crowding = new Crowding();
  readonly #slices = new ChunkSlices(0);
  readonly #lossMax: number;
  #nowMs = 0;
  #transactions = 0;
  #chunkEndsMs: number | undefined;

  constructor(lossMax = 0.1) {
    this.#lossMax = lossMax;
  }

  get share(): number {
    return this.crowding.share(this.#lossMax, this.#nowMs);
  }

  /** @returns the share of the time that was read, and of the others' transactions that were done */
  run(seconds: number, others: Others, isBlind = false): { read: number; kept: number } {
    const endsMs = this.#nowMs + seconds * 1000;
    const startedAt = this.#transactions;
    let readMs = 0;
    for (; this.#nowMs < endsMs; this.#nowMs += 10) {
      if (this.#chunkEndsMs !== undefined && this.#nowMs >= this.#chunkEndsMs) {
        this.#slices.ended(this.#nowMs);
        this.#chunkEndsMs = undefined;
      }
      if (this.#chunkEndsMs === undefined && this.#slices.mayBegin(this.share, this.#nowMs)) {
        this.#slices.began(this.share, this.#nowMs);
        this.#chunkEndsMs = this.#nowMs + CHUNK_MS;
      }
      const { turn } = this.#slices;
      const at = turn.isReading ? 0 : 1;
      if (turn.isReading) readMs += 10;
      this.#transactions += others.transactions[at] / 100;
      if (this.#nowMs % LOOK_MS !== 0) continue;
      const load: SourceLoad = {
        activeSessions: isBlind ? undefined : others.sessions[at],
        standbyLagSeconds: undefined,
        transactionsBegun: Math.round(this.#transactions),
      };
      this.crowding.note(turn, load, this.#nowMs);
    }
    const done = this.#transactions - startedAt;
    return { read: readMs / (seconds * 1000), kept: done / (others.transactions[1] * seconds) };
  }
}

const nobody: Others = { sessions: [0, 0], transactions: [0, 0] };

test("while nobody else is at work it reads without rests", () => {
  expect(new Simulation().run(60, nobody).read).toBe(1);
});

describe("others on a server that is too small for both", () => {
  test("who ask at their own pace are seen by their sessions", () => {
    const simulation = new Simulation();
    simulation.run(60, { sessions: [4, 2], transactions: [1000, 1000] });
    expect(simulation.crowding.measured).toBeCloseTo(2, 0);
    expect(simulation.share).toBeCloseTo(0.2, 1);
  });

  test("who ask as fast as they are answered are seen by what they get done, and lose a tenth", () => {
    const simulation = new Simulation();
    const others: Others = { sessions: [4, 4], transactions: [600, 1200] };
    simulation.run(60, others);
    expect(simulation.crowding.measured).toBeCloseTo(2, 0);
    const { read, kept } = simulation.run(120, others);
    expect(kept).toBeGreaterThan(0.88);
    expect(read).toBeGreaterThan(0.17);
  });

  test("who get nothing done beside it at all still lose a tenth, and it goes on", () => {
    const simulation = new Simulation();
    const others: Others = { sessions: [64, 1], transactions: [0, 1200] };
    simulation.run(60, others);
    const { read, kept } = simulation.run(300, others);
    expect(kept).toBeGreaterThan(0.88);
    expect(read).toBeGreaterThan(0.09);
  });
});

test("on a server that is large enough for both it rests only so much that it can see that", () => {
  const simulation = new Simulation();
  const others: Others = { sessions: [8, 8], transactions: [5000, 5000] };
  simulation.run(60, others);
  expect(simulation.run(60, others).read).toBeGreaterThan(0.75);
});

test("its own transactions do not hide that others are slower", () => {
  const simulation = new Simulation();
  simulation.run(60, { sessions: [4, 2], transactions: [2000, 1000] });
  expect(simulation.crowding.measured).toBeGreaterThan(1.8);
});

test("a session that is hardly ever seen says nothing", () => {
  const simulation = new Simulation();
  simulation.run(60, { sessions: [0.02, 0.01], transactions: [3, 6] });
  expect(simulation.crowding.measured).toBeLessThan(1.6);
});

test("it is gentle before it knows, and comes to another view when the others change", () => {
  const simulation = new Simulation();
  simulation.run(600, nobody);
  const crowded: Others = { sessions: [6, 2], transactions: [1000, 1000] };
  simulation.run(1, crowded);
  expect(simulation.crowding.measured).toBeUndefined();
  expect(simulation.share).toBeCloseTo(0.2, 5);
  simulation.run(60, crowded);
  expect(simulation.share).toBeLessThan(0.17);
  simulation.run(60, { sessions: [2, 2], transactions: [1000, 1000] });
  expect(simulation.share).toBe(0.8);
  simulation.run(5, nobody);
  expect(simulation.run(120, nobody).read).toBe(1);
  simulation.run(1, crowded);
  expect(simulation.share).toBeCloseTo(0.2, 5);
});

test("others who come and go are not met anew each time", () => {
  const simulation = new Simulation();
  const others: Others = { sessions: [2, 2], transactions: [1000, 1000] };
  for (let n = 0; n < 20; n++) {
    simulation.run(2, others);
    simulation.run(8, nobody);
  }
  simulation.run(1, others);
  expect(simulation.share).toBe(0.8);
});

test("where it may not know who is at work it rests as for somebody, and more where fewer transactions say so", () => {
  const simulation = new Simulation();
  expect(simulation.run(60, nobody, true).read).toBeCloseTo(0.4, 1);
  simulation.run(60, { sessions: [4, 4], transactions: [600, 1200] }, true);
  expect(simulation.share).toBeLessThan(0.25);
});

test("what they may lose is what the config says", () => {
  const others: Others = { sessions: [4, 4], transactions: [600, 1200] };
  const [none, half] = [new Simulation(1), new Simulation(0.3)];
  expect(none.run(60, others).read).toBe(1);
  half.run(60, others);
  expect(half.share).toBeCloseTo(0.6, 1);
});
