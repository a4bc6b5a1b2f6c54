import { child, inserted, stream, table, updated, changed } from "../../src/mapping/rules.ts";
import type { StreamRef } from "../../src/mapping/rules.ts";
import type { ParityReport } from "../../src/verify/parity-report.ts";
import { verifyParity, type VerifyOptions } from "../../src/verify/verify-parity.ts";
import { openTestStore } from "../connectors/postgres/event-store-fixture.ts";
import { sourceDatabase, type SourceDatabase } from "../connectors/postgres/source-support.ts";
import { startPipeline, type LivePipeline } from "./live-pipeline.ts";

const account = table<{ id: string; owner: string; balance: string }>("account");
const entry = table<{ id: string; account_id: string; amount: string }>("entry");
export const STREAMS: Readonly<Record<string, StreamRef>> = {
  account: stream(account, {
    children: { entries: child(entry, { account_id: "id" }) },
    events: {
      AccountOpened: inserted(account, { with: [entry] }),
      OwnerNamed: updated(account, changed("owner"), {
        where: ({ owner }) => {
          if (owner === "unmappable") throw new Error("no such owner");
          return true;
        },
      }),
    },
    otherwise: "AccountAmended",
    truncate: "events",
  }),
};
export const DDL = `
  CREATE TABLE account (id text PRIMARY KEY, owner text, balance numeric(12,2));
  CREATE TABLE entry (id int8 PRIMARY KEY, account_id text, amount numeric(12,2));
  ALTER TABLE account REPLICA IDENTITY FULL;
  ALTER TABLE entry REPLICA IDENTITY FULL`;
export const FILL = `
  INSERT INTO account SELECT i::text, 'owner ' || i, i FROM generate_series(1, 20) i;
  INSERT INTO entry SELECT i, (1 + i % 20)::text, i FROM generate_series(1, 60) i`;

/** A small bank with its pipeline, to be verified. */
export interface Bench extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly store: VerifyOptions["store"];
  readonly pipeline: LivePipeline;
  /** Asks the store's database. */
  query(sql: string): Promise<unknown>;
  verify(options?: Partial<VerifyOptions>): Promise<ParityReport>;
}

export async function bench(fill = FILL): Promise<Bench> {
  const db = await sourceDatabase("verify", `${DDL};${fill}`, "account, entry");
  const opened = await openTestStore("verify_store");
  const pipeline = await startPipeline({
    name: "bank",
    openSource: () => db.open(),
    store: opened.store,
    streams: STREAMS,
  });
  await pipeline.reach();
  return {
    db,
    store: opened.store,
    pipeline,
    query: (sql) => opened.database.query(sql),
    verify: (options = {}) =>
      verifyParity(
        {
          pipeline: "bank",
          source: db.open(),
          store: opened.store,
          streams: STREAMS,
          waitMsMax: 30_000,
          samplesMax: 10,
          showValues: true,
          ...options,
        },
        AbortSignal.timeout(60_000),
      ),
    async [Symbol.asyncDispose]() {
      await pipeline[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

/** Runs SQL whose changes never reach the reader of the log: what is not published is not in it. */
export async function unseen(b: Bench, sql: string): Promise<void> {
  const publication = `"${b.db.publication.replaceAll('"', '""')}"`;
  await b.db.query(`
    BEGIN;
    ALTER PUBLICATION ${publication} DROP TABLE account, entry;
    ${sql};
    ALTER PUBLICATION ${publication} ADD TABLE account, entry;
    COMMIT`);
}
