import type {
  AssessedAggregate,
  AssessedTable,
  Basis,
  Blocker,
  Summary,
  Verdict,
} from "./assessment.ts";
import { isMigrating, VERDICTS } from "./assessment.ts";
import { addUp, sumOf, totalCost } from "./costs.ts";
import { amount, byteAmount, duration, known, rate } from "./figures.ts";
import type { DatabaseFacts } from "../source/database-facts.ts";
import { plural } from "../model/count-text.ts";

export interface SummaryParts {
  readonly facts: DatabaseFacts;
  readonly basis: Basis;
  readonly aggregates: readonly AssessedAggregate[];
  readonly tables: readonly AssessedTable[];
  readonly blockers: readonly Blocker[];
}

/** The figures of the whole, and what one would tell of it in a few sentences. */
export function summarize(parts: SummaryParts): Summary {
  const { aggregates, tables } = parts;
  const verdicts = Object.fromEntries(
    VERDICTS.map((verdict) => [
      verdict,
      tables.filter((table) => table.verdict === verdict).length,
    ]),
  ) as Record<Verdict, number>;
  const figures = {
    tables: tables.length,
    aggregates: aggregates.length,
    rows: sumOf(tables.map(({ rows }) => rows)),
    bytes: tables.reduce((sum, { bytes }) => sum + bytes, 0),
    changesPerDay: addUp(aggregates.map((aggregate) => aggregate.changesPerDay)),
    verdicts,
    migrating: totalCost(
      aggregates.filter(({ verdict }) => isMigrating(verdict)).map(({ cost }) => cost),
    ),
    leaving: totalCost(
      aggregates.filter(({ verdict }) => !isMigrating(verdict)).map(({ cost }) => cost),
    ),
  };
  return { ...figures, sentences: [...sentences(parts, figures)] };
}

function* sentences(
  { facts, basis, aggregates, blockers }: SummaryParts,
  figures: Omit<Summary, "sentences">,
): Generator<string> {
  const { tables, verdicts, migrating, leaving } = figures;
  if (tables === 0) {
    yield `${facts.database} has no tables of an application to look at.`;
    return;
  }
  const rows = known(figures.rows, amount);
  yield `${facts.database} on ${facts.server}: ${plural(tables, "table")} in ${plural(figures.aggregates, "aggregate")}, ${rows === "unknown" ? "an unknown number of rows" : `${rows} rows`}, ${byteAmount(figures.bytes)}; ${rateWords(figures, basis)}.`;
  const first = aggregates.find(({ verdict }) => verdict === "migrate-first");
  const of = (verdict: Verdict): readonly AssessedAggregate[] =>
    aggregates.filter((one) => one.verdict === verdict);
  if (first !== undefined) {
    const others = first.children.length;
    yield `Begin with ${first.name} (${first.root}${others === 0 ? "" : ` and ${plural(others, "table")} that ${others === 1 ? "belongs" : "belong"} to it`}): ${first.reasons[0]}.`;
  } else if (of("blocked").length > 0 && of("migrate").length === 0) {
    yield `What is worth migrating is blocked: unblock ${of("blocked")[0]!.name} first.`;
  } else if (of("later").length > 0) {
    const names = of("later").map(({ name }) => name);
    const come = names.length === 1 ? "comes" : "come";
    const candidates = `${names.slice(0, 3).join(", ")}${names.length > 3 ? " …" : ""}`;
    yield of("later").some(({ changesPerDay }) => changesPerDay.atLeast)
      ? `Nothing stands out by its structure alone (${candidates} ${come} nearest): find out how often they change.`
      : `Nothing stands out to begin with; ${candidates} ${come} nearest.`;
  } else {
    yield figures.changesPerDay.atLeast
      ? "As far as names and shapes tell, nothing here needs event sourcing; how the rows change was not measured. Migrate a table only when somebody needs its history."
      : "Nothing here needs event sourcing: its rows say all there is to know. Migrate a table only when somebody needs its history.";
  }
  if (verdicts.leave > 0 && verdicts.leave < tables)
    yield `Leave ${verdicts.leave} of ${plural(tables, "table")} as CRUD${leaving.bytesPerDay.value > 0 ? `: their events would have taken ${known(leaving.bytesPerDay, byteAmount)} a day` : ""}.`;
  if (verdicts.leave < tables) {
    const growth = known(migrating.bytesPerDay, byteAmount);
    yield `${verdicts.leave > 0 ? "For the rest a" : "A"} baseline writes ${eventWords(migrating.baselineEvents.value, migrating.baselineEvents.atLeast)} and takes ${known(migrating.baselineBytes, byteAmount)} in the event store, in ${duration(migrating.baselineSeconds.value)} at 25,000 rows a second; after that the store grows by ${growth === "unknown" ? "an unknown amount" : growth} a day.`;
  }
  const mends = blockers.filter(({ sql }) => sql !== undefined).length;
  if (blockers.length > 0)
    yield `Before a capture ${blockers.length === 1 ? "one thing stands" : `${blockers.length} things stand`} in the way${mends > 0 ? "; the SQL is below" : ""}.`;
}

function rateWords(
  { changesPerDay }: Omit<Summary, "sentences">,
  { countedSeconds, sample }: Basis,
): string {
  const changes = known(changesPerDay, rate);
  if (changes === "unknown") return "how often they change is not known";
  const from =
    sample !== undefined && (countedSeconds === undefined || countedSeconds < 86_400)
      ? `at the rate seen in ${duration(sample.seconds)}`
      : `counted for ${duration(countedSeconds ?? 0)}`;
  return `${changes === "0" ? "no" : changes} row changes a day (${from})`;
}

function eventWords(events: number, atLeast: boolean): string {
  return atLeast && events === 0
    ? "an unknown number of events"
    : `${atLeast ? "at least " : ""}${amount(events)} events`;
}
