import fc from "fast-check";
import { expect, test } from "vitest";
import * as m from "./pgoutput-messages.ts";
import type { RowChange, TransactionPart } from "../../../src/model/change.ts";
import { BanyanError } from "../../../src/model/errors.ts";
import { FrameSplitter } from "../../../connectors/postgres/frames.ts";
import { parseLsn } from "../../../connectors/postgres/lsn.ts";
import { PgoutputDecoder } from "../../../connectors/postgres/pgoutput.ts";
import { RelationCache } from "../../../connectors/postgres/relations.ts";
import { TransactionAssembler } from "../../../connectors/postgres/transaction-assembler.ts";
import { XidEpoch } from "../../../connectors/postgres/xid.ts";

/*
 * Whatever the wire brings, the decoder either gives what the message says or refuses it, and it never
 * looks beyond the message: what lies before and behind it in the buffer changes nothing.
 */

const RUNS = Number(process.env["BANYAN_FUZZ_RUNS"] ?? 100_000);
const SEED = Number(process.env["BANYAN_FUZZ_SEED"] ?? Date.now() % 2 ** 31);

/** One of each message, in an order in which all are valid. */
const SAMPLE: readonly Buffer[] = [
  m.begin(0x10n, 5),
  m.origin("o"),
  m.type(90_000, "shop", "status"),
  m.relation(7, "public", "item", "d", [
    { name: "id", type: 23, key: true },
    { name: "name" },
    { name: "note" },
  ]),
  m.relation(8, "public", "full", "f", [
    { name: "id", type: 23, key: true },
    { name: "name", key: true },
  ]),
  m.insert(7, ["1", "Zürich", null]),
  m.update(7, ["1", m.UNCHANGED, "a value of more than sixteen bytes"]),
  m.update(7, ["2", "b", "n"], { kind: "K", row: ["1", null, null] }),
  m.update(8, ["1", m.UNCHANGED], { kind: "O", row: ["1", "x".repeat(80)] }),
  m.remove(7, "K", ["1", null, null]),
  m.remove(8, "O", ["1", "b"]),
  m.truncate([7, 8], 1),
  m.message(true, "banyan", '{"actor":"a"}'),
  m.commit(0x10n, 0x40n),
];

test("every truncation of every message is a protocol violation, whatever lies behind it", () => {
  SAMPLE.forEach((bytes, index) => {
    for (let length = 0; length < bytes.length; length++) {
      const outcome = outcomeOf(index, bytes.subarray(0, length));
      expect(outcome).toMatch(/^refused:/);
      // Here the rest of the message lies behind its end.
      expect(outcomeOf(index, bytes, 0, length)).toBe(outcome);
    }
  });
});

test("any cut of a recorded stream gives the same transactions", () => {
  const bytes = Buffer.concat(
    [1n, 2n, 3n].flatMap((n) => [m.keepalive(n), ...SAMPLE.map((body) => m.xlogData(n, body))]),
  );
  const read = (chunks: readonly Buffer[]): readonly TransactionPart[] => {
    const { assembler, decoder } = reader();
    const frames = new FrameSplitter((_tag, body, start, end) => {
      if (body[start] === 0x77) decoder.decode(body, start + 25, end);
    });
    for (const chunk of chunks) frames.push(chunk);
    return assembler.take();
  };
  const whole = read([bytes]);
  expect(whole).toHaveLength(3);
  fc.assert(
    fc.property(fc.array(fc.nat({ max: bytes.length }), { maxLength: 30 }), (points) => {
      const at = [...points].sort((a, b) => a - b);
      expect(
        read([0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length))),
      ).toEqual(whole);
    }),
  );
});

test("mutated messages are decoded or refused, never anything else, and from their own bytes alone", () => {
  const random = generator(SEED);
  const pick = (limit: number): number => Math.floor(random() * limit);
  let refused = 0;
  for (let run = 0; run < RUNS; run++) {
    const index = pick(SAMPLE.length);
    const damaged = mutate(SAMPLE[index]!, random);
    const where = `seed ${SEED}, run ${run}: ${damaged.toString("hex")}`;
    let outcome: string;
    try {
      outcome = outcomeOf(index, damaged);
      // The same message amid others, cut from a chunk of the network.
      const before = SAMPLE[pick(SAMPLE.length)]!;
      const chunk = Buffer.concat([
        before,
        damaged,
        SAMPLE[pick(SAMPLE.length)]!,
        Buffer.alloc(9, 0x74),
      ]);
      const end = before.length + damaged.length;
      expect(outcomeOf(index, chunk, before.length, end)).toBe(outcome);
    } catch (cause) {
      throw new Error(where, { cause });
    }
    if (outcome.startsWith("refused:")) refused += 1;
  }
  // Most damage is noticed; some is another valid message.
  expect(refused / RUNS, `seed ${SEED}`).toBeGreaterThan(0.3);
  expect(refused / RUNS, `seed ${SEED}`).toBeLessThan(0.95);
});

/**
 * Decodes the message from `start` to `end` after all that come before it in the sample.
 *
 * @returns what it gave, as text, or `refused:` and why
 * @throws what is neither, and when the values are longer than the message
 */
function outcomeOf(index: number, buffer: Buffer, start = 0, end = buffer.length): string {
  const { assembler, decoder } = reader();
  for (const earlier of SAMPLE.slice(0, index)) decoder.decode(earlier, 0, earlier.length);
  assembler.take();
  try {
    decoder.decode(buffer, start, end);
  } catch (error) {
    if (error instanceof BanyanError && error.code === "PROTOCOL_VIOLATION") {
      return `refused: ${error.message}`;
    }
    throw error;
  }
  // Ends the transaction, so that what it holds is handed over.
  if (decoder.inTransaction) {
    const commit = m.commit(0x10n, 0x40n);
    decoder.decode(commit, 0, commit.length);
  }
  const parts = assembler.take();
  const last = parts.at(-1)?.changes.at(-1) as RowChange | undefined;
  if (index >= 5) {
    for (const cells of [last?.before, last?.after]) {
      const longest = Math.max(0, ...(cells ?? []).map((cell) => cell?.length ?? 0));
      expect(longest).toBeLessThanOrEqual(Math.max(end - start, 80));
    }
  }
  return JSON.stringify(parts, (_key, value: unknown) => value ?? null);
}

function reader(): { assembler: TransactionAssembler; decoder: PgoutputDecoder } {
  const assembler = new TransactionAssembler(new XidEpoch("1000"), parseLsn("0/0"), 1e9);
  return { assembler, decoder: new PgoutputDecoder(new RelationCache(), assembler) };
}

function mutate(bytes: Buffer, random: () => number): Buffer {
  const copy = Buffer.from(bytes);
  const pick = (limit: number): number => Math.floor(random() * limit);
  for (let times = 1 + pick(3); times > 0; times--) copy[pick(copy.length)] = pick(256);
  const shape = random();
  if (shape < 0.2) return copy.subarray(0, pick(copy.length));
  if (shape < 0.4) return Buffer.concat([copy, Buffer.from([pick(256), pick(256)])]);
  if (shape < 0.5)
    return Buffer.concat([copy.subarray(0, pick(copy.length)), copy.subarray(pick(copy.length))]);
  return copy;
}

/** Small seeded generator (mulberry32). */
function generator(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
