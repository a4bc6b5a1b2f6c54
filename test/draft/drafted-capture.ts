import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { loadDraft } from "./draft-support.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { openCapture, type Capture } from "../support/pipeline-capture.ts";
import type { TestDatabase } from "../support/databases.ts";
import { openPostgresSource } from "../../connectors/postgres/source.ts";
import { openPostgresSurvey } from "../../connectors/postgres/survey.ts";
import type { Draft } from "../../src/draft/draft.ts";
import { plannedTables } from "../../src/mapping/compile.ts";
import { check, type CheckFinding } from "../../src/cli/check-findings.ts";
import { openRowSampler } from "../../src/cli/wire.ts";
import type { LoadedConfig } from "../../src/config/load-config.ts";
import type { DatabaseFacts } from "../../src/source/database-facts.ts";
import type { ChangeSource } from "../../src/source/change-source.ts";

export async function surveyOf(url: string): Promise<DatabaseFacts> {
  const survey = openPostgresSurvey({ url });
  try {
    return await survey.facts();
  } finally {
    await survey.close();
  }
}

/** A pipeline of a draft that nobody has touched. */
export interface DraftedCapture extends AsyncDisposable {
  readonly capture: Capture;
  /** Events in the store by type. */
  eventTypes(): Promise<ReadonlyMap<string, number>>;
  /** The rows that events of creation hold, by the type of the event: at most so many of each. */
  createdRows(type: string, max: number): Promise<readonly Readonly<Record<string, unknown>>[]>;
  /** Rows of the drafted tables. */
  rowCount(): Promise<number>;
}

/**
 * Opens a capture of a draft as it was written: checks it as `banyan check` does, with the laws tried on
 * generated histories and real rows, runs the SQL that the check names, and checks it again.
 *
 * @throws when the check still finds an error
 */
export async function captureDraft(db: TestDatabase, drafted: Draft): Promise<DraftedCapture> {
  using loaded = await loadDraft(drafted, db.url);
  const { config } = loaded;
  const { streams } = config;
  // Slots are the server's, not the database's.
  const slot = `s_${db.name}`;
  const open = () =>
    openPostgresSource({ url: db.url, slot, publication: config.source.publication });
  const tables = plannedTables(streams);
  await requireSound(config, open, (sql) => db.query(sql));
  const opened = await openTestStore("draft_store");
  const capture = await openCapture({
    name: config.name,
    openSource: open,
    store: opened.store,
    streams,
  });
  return {
    capture,
    async eventTypes() {
      const { rows } = await opened.database.query(
        "SELECT type, count(*)::int AS n FROM banyan.events GROUP BY type",
      );
      return new Map((rows as { type: string; n: number }[]).map(({ type, n }) => [type, n]));
    },
    async createdRows(type, max) {
      const { rows } = await opened.database.query(
        "SELECT data FROM banyan.events WHERE type = $1 LIMIT $2",
        [type, max],
      );
      return (rows as { data: Record<string, unknown> }[]).map(({ data }) => data);
    },
    async rowCount() {
      let rows = 0;
      for (const { name } of tables) {
        const [schema, relation] = name
          .split(/(?<!\\)\./)
          .map((part) => part.replaceAll("\\.", "."));
        const { rows: found } = await db.query(
          `SELECT count(*)::int AS n FROM ${await onlyOf(db, schema!, relation!)}`,
        );
        rows += (found[0] as { n: number }).n;
      }
      return rows;
    },
    async [Symbol.asyncDispose]() {
      await capture[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
    },
  };
}

/** Rows of tables that inherit show in their parent's, and are not the parent's. */
async function onlyOf(db: TestDatabase, schema: string, relation: string): Promise<string> {
  const name = `"${schema.replaceAll('"', '""')}"."${relation.replaceAll('"', '""')}"`;
  const { rows } = await db.query(`SELECT relkind FROM pg_class WHERE oid = $1::regclass`, [name]);
  return (rows[0] as { relkind: string }).relkind === "p" ? name : `ONLY ${name}`;
}

const CHECK = { runs: 25, sample: 5, showValues: true, explain: false };
const CHECK_MS_MAX = 60_000;

async function requireSound(
  config: LoadedConfig,
  open: () => ChangeSource,
  run: (sql: string) => Promise<unknown>,
): Promise<void> {
  const source = open();
  const sampler = await openRowSampler(config);
  const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 2 ** 31);
  const opened = {
    source: () => Promise.resolve(source),
    sampler: () => Promise.resolve(sampler),
    store: () => Promise.resolve(new MemoryEventStore()),
  };
  const errors = async (): Promise<readonly CheckFinding[]> => {
    const { findings } = await check(
      config,
      opened,
      { ...CHECK, seed },
      AbortSignal.timeout(CHECK_MS_MAX),
    );
    return findings.filter(({ severity }) => severity === "error");
  };
  try {
    for (const { mend } of await errors()) if (mend !== undefined) await run(mend);
    const left = await errors();
    if (left.length > 0) throw new Error(`seed ${seed}: ${JSON.stringify(left, undefined, 2)}`);
  } finally {
    await Promise.all([source.close(), sampler.close()]);
  }
}
