import { randomBytes } from "node:crypto";
import { connect, disconnect } from "../../../connectors/postgres/session.ts";
import {
  openPostgresSource,
  type PostgresSourceOptions,
} from "../../../connectors/postgres/source.ts";
import type { ChangeSource, CapturePlan } from "../../../src/source/change-source.ts";
import type { Position } from "../../../src/model/position.ts";
import { createDatabase, type TestDatabase } from "../../support/databases.ts";

export interface SourceDatabase extends TestDatabase {
  readonly slot: string;
  readonly publication: string;
  /** Another source on the same slot; closed with the database. */
  open(options?: Partial<PostgresSourceOptions>): ChangeSource;
}

/** A fresh database with the given DDL, in which `"%"` is its name, and a publication of the named tables. */
export async function sourceDatabase(
  label: string,
  ddl = "",
  tables = "",
): Promise<SourceDatabase> {
  const db = await createDatabase(label);
  const slot = `slot_${randomBytes(5).toString("hex")}`;
  const publication = `publication of "${label}"`;
  if (ddl !== "") await db.query(ddl.replaceAll(`"%"`, `"${db.name}"`));
  if (tables !== "")
    await db.query(`CREATE PUBLICATION "${publication.replaceAll('"', '""')}" FOR TABLE ${tables}`);
  const sources: ChangeSource[] = [];
  return {
    ...db,
    slot,
    publication,
    open(options = {}) {
      const source = openPostgresSource({ url: db.url, slot, publication, ...options });
      sources.push(source);
      return source;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(sources.map((source) => source.close()));
      await db[Symbol.asyncDispose]();
    },
  };
}

/** Takes a baseline of nothing but the position, after which the stream begins. */
export async function startOf(source: ChangeSource, plan: CapturePlan): Promise<Position> {
  const snapshot = await source.openBaseline(plan, new AbortController().signal);
  await snapshot.close();
  return snapshot.position;
}

/** Runs statements one by one on a session of its own, with the settings of a capture. */
export async function onSession(url: string, statements: readonly string[]): Promise<void> {
  const client = await connect({ url, applicationName: "test" });
  try {
    for (const sql of statements) await client.query(sql);
  } finally {
    await disconnect(client);
  }
}
