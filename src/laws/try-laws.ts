import fc from "fast-check";
import type { LawFinding } from "./finding.ts";
import { play, type History, type PlayedTransaction } from "./history.ts";
import type { LawStream } from "./law-tables.ts";
import { RefusedRows, type RefusedBy } from "./refused-rows.ts";
import { materialOf, randomHistory, type Material } from "./random-history.ts";
import { sampledHistories } from "./sampled-history.ts";
import { shrinkHistory } from "./shrink-history.ts";
import { hidesValues, tellStory, type MayShow } from "./story.ts";
import { LawTrial, type Trial, type Violation } from "./trial.ts";
import type { Mapping } from "../mapping/compile.ts";

export interface LawOptions {
  /** The same seed on the same schema and config tries the same histories. */
  readonly seed: number;
  /** Generated histories per stream. */
  readonly runs: number;
  /** For all streams together. */
  readonly timeMsMax: number;
  /** Whether stories may show values that only real rows have. */
  readonly showValues: boolean;
  /** Absent when the database cannot be asked. */
  readonly refusedBy?: RefusedBy;
  readonly signal?: AbortSignal;
}

/** How far the laws of one stream were tried. */
export interface StreamTried {
  readonly stream: string;
  /** Generated histories. */
  readonly histories: number;
  /** Real rows, each inserted and changed step by step. */
  readonly rows: number;
  /** Row changes mapped in all of them. */
  readonly changes: number;
  /** How often each event type was told. */
  readonly events: Readonly<Record<string, number>>;
  /** Why it was not tried as often as was asked for; absent when it was. */
  readonly cut?: string;
}

export interface LawReport {
  readonly seed: number;
  readonly streams: readonly StreamTried[];
  readonly findings: readonly LawFinding[];
}

const FINDINGS_PER_STREAM_MAX = 8;
/** Histories kept of one thing, among which one may be that the database takes. */
const MET_MAX = 40;
/** Histories between two looks at the clock and at the signal. */
const HISTORIES_PER_ROUND = 25;
/** Fewer say nothing about a rule that was never met. */
const HISTORIES_FOR_ABSENCE = 100;

/**
 * Tries the laws of a mapping, stream by stream: on each real row, inserted and then changed step by
 * step, and on generated histories. What does not hold is made as small as possible and told.
 *
 * @param streams those that compiled without problems
 */
export async function tryLaws(
  mapping: Mapping,
  streams: readonly LawStream[],
  options: LawOptions,
): Promise<LawReport> {
  const tried: StreamTried[] = [];
  const findings: LawFinding[] = [];
  const deadline = performance.now() + options.timeMsMax;
  for (const [i, stream] of streams.entries()) {
    const now = performance.now();
    const share = Math.max(0, deadline - now) / (streams.length - i);
    const trying = new StreamTrying(mapping, stream, options);
    await trying.run(now + share);
    tried.push(trying.tried());
    findings.push(...trying.findings);
  }
  return { seed: options.seed, streams: tried, findings };
}

class StreamTrying {
  readonly findings: LawFinding[] = [];
  readonly #stream: LawStream;
  readonly #options: LawOptions;
  readonly #materials: readonly Material[];
  readonly #trial: LawTrial;
  readonly #known = new Set<string>();
  readonly #events = new Map<string, number>();
  readonly #shownBy = new Map<
    LawFinding,
    { readonly key: string; readonly played: readonly PlayedTransaction[]; readonly from: string }
  >();
  /** Histories that broke a law, by what they broke; some of each. */
  readonly #met = new Map<string, History[]>();
  #histories = 0;
  #rows = 0;
  #changes = 0;
  #cut: string | undefined;

  constructor(mapping: Mapping, stream: LawStream, options: LawOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#materials = materialOf(stream);
    this.#trial = new LawTrial(mapping, stream);
  }

  async run(deadline: number): Promise<void> {
    for (const { history, from } of sampledHistories(this.#stream, this.#materials)) {
      if (await this.#isOver(deadline)) break;
      this.#rows += 1;
      this.#tryRow(history, from);
    }
    const arbitrary = randomHistory(this.#materials);
    for (let round = 0; this.#histories < this.#options.runs;) {
      // However many streams share the time, each has its first round.
      if ((await this.#isOver(deadline)) && (round > 0 || this.#isStopped())) break;
      const runs = Math.min(HISTORIES_PER_ROUND, this.#options.runs - this.#histories);
      const { found, tried } = this.#tryRound(arbitrary, round, runs, deadline);
      // What was found is passed over, and the round tried again for what else there is.
      if (found) continue;
      round += 1;
      this.#histories += tried;
    }
    await this.#doubt();
    this.#noteAbsent();
  }

  tried(): StreamTried {
    return {
      stream: this.#stream.plan.type,
      histories: this.#histories,
      rows: this.#rows,
      changes: this.#changes,
      events: Object.fromEntries([...this.#events].sort(([a], [b]) => (a < b ? -1 : 1))),
      ...(this.#cut === undefined ? {} : { cut: this.#cut }),
    };
  }

  async #isOver(deadline: number): Promise<boolean> {
    // A signal is heard between two turns only.
    await new Promise((resolve) => setImmediate(resolve));
    if (this.#options.signal?.aborted === true) this.#cut ??= "interrupted";
    else if (performance.now() > deadline) this.#cut ??= "the time was up";
    else if (this.findings.length >= FINDINGS_PER_STREAM_MAX) this.#cut ??= "enough was found";
    return this.#cut !== undefined;
  }

  #isStopped(): boolean {
    return (
      this.#options.signal?.aborted === true || this.findings.length >= FINDINGS_PER_STREAM_MAX
    );
  }

  /** A row's whole life; what breaks a law is left out of it and the rest tried again. */
  #tryRow(history: History, from: string): void {
    let rest = history;
    while (rest.length > 0 && this.findings.length < FINDINGS_PER_STREAM_MAX) {
      const seen = this.#examine(rest);
      if (!isBroken(seen)) return;
      if (!this.#known.has(keyOf(seen.violation))) this.#add(rest, seen, from);
      rest = rest.toSpliced(seen.played[seen.violation.at]!.number, 1);
    }
  }

  /** @returns whether something new was found, and how many histories there was time for */
  #tryRound(
    arbitrary: fc.Arbitrary<History>,
    round: number,
    runs: number,
    deadline: number,
  ): { readonly found: boolean; readonly tried: number } {
    let found: { readonly history: History; readonly seen: Broken } | undefined;
    const property = fc.property(arbitrary, (history) => {
      const seen = this.#examine(history);
      if (!isBroken(seen) || this.#known.has(keyOf(seen.violation))) return true;
      // While it is made smaller it must stay the same thing.
      if (found !== undefined && keyOf(found.seen.violation) !== keyOf(seen.violation)) return true;
      found = { history, seen };
      return false;
    });
    const { numRuns } = fc.check(property, {
      seed: this.#options.seed + round,
      numRuns: runs,
      interruptAfterTimeLimit: Math.max(100, Math.min(2_000, deadline - performance.now())),
      markInterruptAsFailure: false,
    });
    if (found !== undefined) this.#add(found.history, found.seen, "a generated history");
    return { found: found !== undefined, tried: numRuns };
  }

  #examine(history: History): Seen {
    const seen = this.#look(history);
    if (isBroken(seen)) this.#note(keyOf(seen.violation), history);
    for (const { changes } of seen.played) this.#changes += changes.length;
    for (const { type } of seen.events.flat()) {
      this.#events.set(type, (this.#events.get(type) ?? 0) + 1);
    }
    return seen;
  }

  #note(key: string, history: History): void {
    const met = this.#met.get(key) ?? [];
    this.#met.set(key, met);
    if (met.length < MET_MAX) met.push(history);
  }

  #look(history: History): Seen {
    const played = play(this.#stream, history);
    return { played, ...this.#trial.run(played) };
  }

  #add(history: History, seen: Broken, from: string): void {
    const key = keyOf(seen.violation);
    this.#known.add(key);
    const smallest = shrinkHistory(
      history,
      (smaller) => {
        const again = this.#look(smaller);
        return isBroken(again) && keyOf(again.violation) === key;
      },
      this.#plain,
    );
    const small = this.#look(smallest);
    // A function that remembers may not do again what it did; then it is told as it was seen first.
    const isSame = isBroken(small) && keyOf(small.violation) === key;
    const told = isSame ? small : seen;
    const finding = this.#finding(told, from);
    this.findings.push(finding);
    this.#shownBy.set(finding, { key, played: told.played, from });
  }

  /** What only rows show that the database would refuse is no error: such rows may never be. */
  async #doubt(): Promise<void> {
    const { refusedBy } = this.#options;
    if (refusedBy === undefined) return;
    const refused = new RefusedRows(this.#stream.tables, refusedBy);
    for (const [finding, { key, played, from }] of this.#shownBy) {
      const constraint = await refused.refusalOf(played);
      if (constraint === undefined) continue;
      const accepted = await this.#acceptedOf(key, refused);
      const { law: _, ...rest } = finding;
      const at = this.findings.indexOf(finding);
      this.findings[at] =
        accepted !== undefined
          ? this.#finding(accepted, from)
          : {
              ...rest,
              severity: "warning",
              message: `${finding.message}; but ${constraint} of the database refuses a row of it`,
              next: `If such rows cannot be, leave it as it is; otherwise: ${finding.next}`,
            };
    }
  }

  /** A history that shows the same with rows that the database takes, of those that were met. */
  async #acceptedOf(key: string, refused: RefusedRows): Promise<Broken | undefined> {
    const shows = (history: History): Broken | undefined => {
      const seen = this.#look(history);
      return isBroken(seen) && keyOf(seen.violation) === key ? seen : undefined;
    };
    for (const history of this.#met.get(key) ?? []) {
      // Its values stay as they are: the plainest ones are those that were refused.
      const short = shrinkHistory(
        history,
        (smaller) => shows(smaller) !== undefined,
        () => [],
      );
      const seen = shows(short);
      if (seen === undefined || (await refused.refusalOf(seen.played)) !== undefined) continue;
      const simple = await refused.simplify(short, (one) => shows(one)?.played, this.#plain);
      return shows(simple);
    }
    return undefined;
  }

  readonly #plain = (table: number, column: number): readonly (string | null)[] =>
    this.#materials[table]!.cells[column]!.simple;

  #finding(broken: Broken, from: string): LawFinding {
    const { law, code, rule, table, column, reason, next, blame } = broken.violation;
    const mayShow = this.#mayShow();
    // What a function says as it throws may repeat what is in the row.
    const hidden = hidesValues(broken.played, mayShow) && blame?.code.endsWith("throws") === true;
    const why = hidden ? reason.replace(/ throws: .*/s, " throws") : reason;
    return {
      severity: "error",
      code,
      law,
      stream: this.#stream.plan.type,
      ...(rule === undefined ? {} : { rule }),
      table,
      ...(column === undefined ? {} : { column }),
      message: `${why} (on ${from})`,
      next,
      story: tellStory(broken, mayShow),
    };
  }

  #mayShow(): MayShow {
    if (this.#options.showValues) return () => true;
    const { tables } = this.#stream;
    return (table, column, cell) => {
      const at = tables.findIndex((about) => about.table.name === table);
      const { any: _, simple } = this.#materials[at]!.cells[column]!;
      const isReal = tables[at]!.samples.some((row) => row[column] === cell);
      return !isReal || simple.includes(cell);
    };
  }

  /** Rules with a condition in code that nothing met: it may be wrong, or only rare. */
  #noteAbsent(): void {
    if (this.#histories < HISTORIES_FOR_ABSENCE) return;
    for (const { type, rule } of this.#stream.plan.rules) {
      if (rule.where === undefined || this.#events.has(type)) continue;
      // One that never can has a finding of its own.
      if (!this.#materials.some(({ aims }) => aims.some((aim) => aim.rule === type))) continue;
      if (this.findings.some((finding) => finding.rule === type)) continue;
      this.findings.push({
        severity: "info",
        code: "rule-not-met",
        stream: this.#stream.plan.type,
        rule: type,
        table: rule.table.name,
        message: `rule ${type} did not fire once in ${this.#histories} histories: its "where" said no each time`,
        next: `See whether "where" of rule ${type} can hold at all; it may only be rare`,
      });
    }
  }
}

interface Seen extends Trial {
  readonly played: readonly PlayedTransaction[];
}

/** A history that breaks a law. */
type Broken = Seen & { readonly violation: Violation };

function isBroken(seen: Seen): seen is Broken {
  return seen.violation !== undefined;
}

/** Two violations of one key are one finding. */
function keyOf({ code, rule, table, column }: Violation): string {
  return JSON.stringify([code, rule, table, column]);
}
