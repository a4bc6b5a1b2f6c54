import type { ChangeRate } from "./change-rate.ts";
import { cameWithinCounting, DAY_SECONDS } from "./change-rate.ts";
import type { ColumnReading } from "./column-roles.ts";
import { singularWords, wordsOf } from "./identifier-words.ts";
import type { Reference } from "./references.ts";
import type { DatabaseFacts, TableFacts } from "../source/database-facts.ts";
import { plural } from "../model/count-text.ts";

/** What a table is for, as far as that decides whether its history is worth keeping. */
export interface TableNature {
  readonly nature:
    | "business"
    /** Values to choose from, kept by hand. */
    | "lookup"
    /** Only ever added to: the rows are the history already. */
    | "append-only"
    /** Holds what another table was. */
    | "history"
    /** Of a framework or a job runner: nobody asks for its past. */
    | "technical"
    /** Nothing but which rows of two tables belong together. */
    | "link"
    /** Its rows are not in this server's log. */
    | "elsewhere"
    | "unlogged"
    /** Has not changed for long. */
    | "still";
  /** A sentence without its end; empty for `business`. */
  readonly why: string;
  /** False when only names and types say so, and nothing was measured. */
  readonly measured: boolean;
}

const TECHNICAL_NAMES = new Set(
  (
    "schema_migrations ar_internal_metadata alembic_version flyway_schema_history databasechangelog databasechangeloglock " +
    "django_migrations django_session django_content_type auth_permission sessions session knex_migrations knex_migrations_lock " +
    "_prisma_migrations __efmigrationshistory doctrine_migration_versions migrations migration_versions goose_db_version " +
    "spatial_ref_sys failed_jobs cache_locks"
  ).split(" "),
);
const TECHNICAL_WORDS = new Set(
  "migration session cache lock nonce tmp temp staging backup bak lease heartbeat".split(" "),
);
const TECHNICAL_PREFIX =
  /^(qrtz_|celery_|hangfire|act_(ru|ge|hi)_|oban_|que_|good_job|solid_queue|delayed_job|active_storage_)/;
/** Columns that only the work list of a job runner has, two of them at least. */
const JOB_COLUMNS =
  /^(locked_(at|by|until)|run_at|attempts|handler|payload|queue|queue_name|reserved_at|available_at|scheduled_at)$/;
const ADDED_WORDS = new Set(
  "measurement reading metric sample telemetry log event tick observation click pageview hit impression trace history audit journal movement ledger".split(
    " ",
  ),
);
const LOOKUP_WORDS = new Set(
  "type kind category currency country language unit status region locale timezone holiday code".split(
    " ",
  ),
);
const LOOKUP_ROWS_MAX = 1_000;
const LOOKUP_COLUMNS_MAX = 8;
/** Rows rarely looked after: at most this share of them changed per day. */
const LOOKUP_RATE_MAX = 0.02;
const STILL_SECONDS_MIN = 7 * DAY_SECONDS;
/** Of an append-only table at most this share of the changes may be something else. */
const OTHER_SHARE_MAX = 0.001;

export interface NatureParts {
  readonly facts: DatabaseFacts;
  readonly table: TableFacts;
  readonly readings: readonly ColumnReading[];
  readonly rate: ChangeRate;
  readonly references: readonly Reference[];
  readonly historyOf: string | undefined;
  /** Whether another table is taken for a lookup: a table that refers to nothing else may be one too. */
  readonly isLookup: (table: string) => boolean;
}

export function tableNature(parts: NatureParts): TableNature {
  const { table, historyOf, rate, facts } = parts;
  if (table.kind === "foreign")
    return certain("elsewhere", "its rows live in another database: assess that one");
  if (table.kind === "unlogged")
    return certain(
      "unlogged",
      "unlogged: whoever made it so can do without its rows after a crash",
    );
  if (historyOf !== undefined) {
    const of = historyOf === "" ? "other tables" : historyOf;
    return certain("history", `already holds the history of ${of}, which events would take over`);
  }
  const technical = technicalWhy(table);
  if (technical !== undefined) return { nature: "technical", why: technical, measured: false };
  const lookup = lookupWhy(parts);
  if (lookup !== undefined) return lookup;
  const added = appendOnlyWhy(parts);
  if (added !== undefined) return added;
  if (isLink(parts))
    return {
      nature: "link",
      why: "only says which rows of two tables belong together",
      measured: false,
    };
  const { changes, rows } = table;
  const counted = facts.countedSeconds;
  if (
    rate.basis === "statistics" &&
    changes !== undefined &&
    counted !== undefined &&
    counted >= STILL_SECONDS_MIN &&
    changes.inserted + changes.updated + changes.deleted === 0 &&
    rows !== undefined
  ) {
    return certain(
      "still",
      `not one change in the ${Math.floor(counted / DAY_SECONDS)} days counted`,
    );
  }
  return { nature: "business", why: "", measured: false };
}

function certain(nature: TableNature["nature"], why: string): TableNature {
  return { nature, why, measured: true };
}

function technicalWhy({ table, columns }: TableFacts): string | undefined {
  const name = table.relation.toLowerCase();
  if (TECHNICAL_NAMES.has(name) || TECHNICAL_PREFIX.test(name))
    return "kept by a framework for itself";
  const words = singularWords(table.relation);
  const word = words.find((part) => TECHNICAL_WORDS.has(part));
  if (word !== undefined) return `technical by its name (${word})`;
  const ofJobs = columns.filter((column) => JOB_COLUMNS.test(column.name));
  return ofJobs.length >= 2
    ? `a work list (${ofJobs.map((column) => column.name).join(", ")})`
    : undefined;
}

function lookupWhy({
  table,
  readings,
  rate,
  references,
  isLookup,
}: NatureParts): TableNature | undefined {
  const { rows, columns } = table;
  const telling = new Set(["state", "money", "personal", "secret", "soft-delete", "version"]);
  if (readings.some(({ role }) => telling.has(role))) return undefined;
  if (columns.length > LOOKUP_COLUMNS_MAX) return undefined;
  const outgoing = references.filter(
    (reference) =>
      reference.table === table.table.name && reference.references !== table.table.name,
  );
  if (!outgoing.every((reference) => isLookup(reference.references))) return undefined;
  const incoming = references.some(
    (reference) =>
      reference.references === table.table.name && reference.table !== table.table.name,
  );
  const named =
    wordsOf(table.table.relation).length > 0 &&
    LOOKUP_WORDS.has(singularWords(table.table.relation).at(-1)!);
  if (!incoming && !named) return undefined;
  if (rows === undefined) {
    return named
      ? { nature: "lookup", why: "values to choose from, by its name", measured: false }
      : undefined;
  }
  if (rows === 0 || rows > LOOKUP_ROWS_MAX) return undefined;
  // Rows that all came since the counting began say how they were loaded, not how they live.
  const inserted = cameWithinCounting(table) ? 0 : (rate.insertedPerDay ?? 0);
  const changed = inserted + (rate.updatedPerDay ?? 0) + (rate.deletedPerDay ?? 0);
  if (changed > Math.max(1, rows * LOOKUP_RATE_MAX)) return undefined;
  const what = `${plural(rows, "row")} to choose from`;
  return rate.basis === "unknown"
    ? { nature: "lookup", why: what, measured: false }
    : { nature: "lookup", why: `${what}, rarely changed`, measured: true };
}

function appendOnlyWhy({
  table,
  readings,
  rate,
  facts,
  references,
}: NatureParts): TableNature | undefined {
  const { changes } = table;
  const counted = facts.countedSeconds;
  const measured =
    rate.basis === "sample"
      ? {
          inserted: rate.insertedPerDay ?? 0,
          other: (rate.updatedPerDay ?? 0) + (rate.deletedPerDay ?? 0),
        }
      : rate.basis === "statistics" && changes !== undefined && counted! >= DAY_SECONDS
        ? { inserted: changes.inserted, other: changes.updated + changes.deleted }
        : undefined;
  const mutable = new Set(["state", "soft-delete", "version", "changed-at", "flag"]);
  const hasState = readings.some(
    ({ role }) => role === "state" || role === "soft-delete" || role === "version",
  );
  const isMutable = readings.some(({ role }) => mutable.has(role));
  const hasTime = table.columns.some(({ type }) => /^(date|timestamp)/.test(type));
  if (measured !== undefined && measured.inserted + measured.other > 0) {
    if (measured.other > measured.inserted * OTHER_SHARE_MAX) return undefined;
    // A short sample may have missed what comes later in a row's life, and rows that all came since the
    // counting began may have come by one load: then the columns must not contradict.
    const grew = rate.basis === "statistics" && !cameWithinCounting(table);
    if (!grew && (isMutable || !hasTime)) return undefined;
    return certain("append-only", "rows are only ever added: they are their own history already");
  }
  if (hasState || !hasTime) return undefined;
  const named = singularWords(table.table.relation).find((word) => ADDED_WORDS.has(word));
  if (named !== undefined)
    return {
      nature: "append-only",
      why: `rows that are only added, by its name (${named})`,
      measured: false,
    };
  const referred = references.some((reference) => reference.references === table.table.name);
  const byTime = table.columns.some(
    ({ name, type }) => table.primaryKey.includes(name) && /^(date|timestamp)/.test(type),
  );
  const isAltered = readings.some(({ role }) => role === "changed-at" || role === "money");
  if (byTime && !isAltered)
    return {
      nature: "append-only",
      why: "rows that are only added, as it seems: keyed by time",
      measured: false,
    };
  if (table.kind === "partitioned" && table.primaryKey.length === 0 && !referred && !isAltered)
    return {
      nature: "append-only",
      why: "rows that are only added, as it seems: partitioned, without a key, never referred to",
      measured: false,
    };
  return undefined;
}

/** All columns but times belong to two references. */
function isLink({ table, references }: NatureParts): boolean {
  const own = references.filter((reference) => reference.table === table.table.name);
  // What others refer to is a thing of its own.
  if (own.length !== 2 || references.some(({ references: to }) => to === table.table.name))
    return false;
  const referring = new Set(own.flatMap(({ columns }) => columns));
  const others = table.columns.filter(
    ({ name, type, default: given }) =>
      !referring.has(name) &&
      !/^(date|timestamp)/.test(type) &&
      given !== "identity" &&
      !(given ?? "").startsWith("nextval("),
  );
  return others.length === 0;
}
