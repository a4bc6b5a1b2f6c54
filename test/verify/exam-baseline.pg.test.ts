import { expect, test } from "vitest";
import {
  ACCOUNTS,
  openExam,
  ordered,
  orderedFlaws,
  sightsOf,
  type Exam,
  type Sight,
} from "./exam-support.ts";
import { Saboteur, type Fault } from "../support/faulty-events.ts";
import type { Flaw } from "../../src/verify/history-check.ts";

/* The same exam of events that tell what was there before: baseline events that are spoilt on their way. */

const SEED = Number(process.env["BANYAN_TEST_SEED"] ?? Math.floor(Math.random() * 2 ** 31));
process.stderr.write(`exam of baselines: BANYAN_TEST_SEED=${SEED}\n`);

interface Spoilt {
  readonly fault: Fault;
  readonly seen: readonly Sight[];
  readonly flaws?: readonly Flaw[];
}

const at = (id: number): string => `account-${id}`;

function different(id: number, column: string): Sight {
  const key = String(id);
  return { verdict: "different", table: "public.account", stream: at(id), key, columns: [column] };
}

/** All three rows of an account. */
function whole(verdict: "missing" | "extra", id: number, stream = at(id)): readonly Sight[] {
  const of = (table: string, key: number): Sight => {
    return { verdict, table: `public.${table}`, stream, key: String(key), columns: [] };
  };
  // An entry's account is 1 + the entry's id modulo their number, and the last one's is of two rounds.
  const first = id === 1 ? ACCOUNTS : id - 1;
  return [of("account", id), of("entry", first), of("entry", first + ACCOUNTS)];
}

/** An account that is nowhere. */
const NOWHERE = 9_000_000;

function spoilings(victim: Exam["victim"]): ReadonlyMap<string, Spoilt> {
  const spoilt = new Map<string, Spoilt>();
  const plan = (of: (id: number) => Spoilt): void => {
    const id = victim();
    spoilt.set(at(id), of(id));
  };
  plan((id) => ({ fault: { kind: "truncate", column: "owner" }, seen: [different(id, "owner")] }));
  plan((id) => ({ fault: { kind: "round", column: "balance" }, seen: [different(id, "balance")] }));
  plan((id) => ({ fault: { kind: "null", column: "owner" }, seen: [different(id, "owner")] }));
  plan((id) => ({ fault: { kind: "omit", column: "balance" }, seen: [different(id, "balance")] }));
  plan((id) => ({
    fault: { kind: "retime", column: "seen_at" },
    seen: [different(id, "seen_at")],
  }));
  plan((id) => ({ fault: { kind: "drop" }, seen: whole("missing", id) }));
  plan((id) => ({
    fault: { kind: "double" },
    seen: [],
    flaws: [{ verdict: "doubled", stream: at(id), version: 2, columns: [] }],
  }));
  plan((id) => ({
    fault: { kind: "miskey", to: at(NOWHERE) },
    seen: [...whole("missing", id), ...whole("extra", id, at(NOWHERE))],
  }));
  return spoilt;
}

for (const baseline of ["snapshot", "chunked"] as const) {
  test(`a spoilt event of a baseline (${baseline}) is found out, at the key and the column, and nothing else is`, async () => {
    const saboteur = new Saboteur();
    let spoilt = new Map() as ReturnType<typeof spoilings>;
    await using exam = await openExam(SEED, {
      saboteur,
      baseline,
      onVictims(victim) {
        spoilt = spoilings(victim);
        for (const [stream, { fault }] of spoilt) saboteur.plan(stream, fault);
      },
    });
    expect(saboteur.pending).toBe(0);
    const stopTraffic = exam.startTraffic();
    try {
      const all = [...spoilt.values()];
      const seen = ordered(all.flatMap((one) => one.seen));
      const flaws = orderedFlaws(all.flatMap((one) => one.flaws ?? []));
      for (const refold of [false, true]) {
        const report = await exam.verify({ refold });
        expect(sightsOf(report)).toEqual(seen);
        expect(orderedFlaws(report.history.samples)).toEqual(flaws);
        // One is lost, and one is there twice.
        expect(report).toMatchObject({ state: "different", history: { streams: 1, untold: 0 } });
        expect(report.compared).toBe(report.present);
      }
      const chunks = (await exam.store.pipeline("exam"))!.baselines?.[0]?.chunksRead ?? 0;
      expect(chunks > 2).toBe(baseline === "chunked");
    } finally {
      await stopTraffic();
    }
  });
}
