import { expect, inject } from "vitest";
import {
  arrayOf,
  CONTRIB_NAMES,
  MATRIX_TYPES_DDL,
  matrixTypes,
  type MatrixType,
} from "./type-matrix-values.ts";
import { onSession, sourceDatabase, type SourceDatabase } from "./source-support.ts";
import { openTestStore } from "./event-store-fixture.ts";
import { connect, disconnect } from "../../../connectors/postgres/session.ts";
import { stream, table, type StreamRef } from "../../../src/mapping/rules.ts";
import type { FoldedRow } from "../../../src/projection/fold.ts";
import type { EventStore } from "../../../src/store/event-store.ts";
import { openCapture, type Capture } from "../../support/pipeline-capture.ts";

/** A database whose tables are captured into a store of its own. */
export interface CapturedDatabase extends AsyncDisposable {
  readonly db: SourceDatabase;
  readonly store: EventStore;
  readonly capture: Capture;
  /** Runs statements on a session with a capture's own settings, which read every value's canonical text. */
  write(...statements: string[]): Promise<void>;
}

/** @param tables as in CREATE PUBLICATION … FOR TABLE */
export async function capturedDatabase(
  label: string,
  ddl: readonly string[],
  tables: string,
  streams: Readonly<Record<string, StreamRef>>,
  options: { readonly encoding?: string } = {},
): Promise<CapturedDatabase> {
  const db = await sourceDatabase(label);
  if (options.encoding !== undefined) await encodeAnew(db.name, options.encoding);
  await onSession(db.url, ddl);
  await db.query(
    `CREATE PUBLICATION "${db.publication.replaceAll('"', '""')}" FOR TABLE ${tables}`,
  );
  const opened = await openTestStore(`${label}_store`);
  const capture = await openCapture({
    name: "matrix",
    openSource: () => db.open(),
    store: opened.store,
    streams,
  });
  return {
    db,
    store: opened.store,
    capture,
    write: (...statements) => onSession(db.url, statements),
    async [Symbol.asyncDispose]() {
      await capture[Symbol.asyncDispose]();
      await opened[Symbol.asyncDispose]();
      await db[Symbol.asyncDispose]();
    },
  };
}

/** Makes an unused database again in another encoding. */
async function encodeAnew(name: string, encoding: string): Promise<void> {
  await onSession(inject("pgUrl"), [
    `DROP DATABASE ${name}`,
    `CREATE DATABASE ${name} TEMPLATE template0 ENCODING '${encoding}' LOCALE 'C'`,
  ]);
}

/** The types of a server, with those of its extensions; says what is left out. */
export async function typesOf(
  url: string,
): Promise<{ readonly types: readonly MatrixType[]; readonly ddl: readonly string[] }> {
  const client = await connect({ url, applicationName: "test" });
  try {
    const { rows } = await client.query<{ name: string }>(
      "SELECT name FROM pg_available_extensions",
    );
    const { rows: facts } = await client.query<{ version: number }>(
      "SELECT current_setting('server_version_num')::int AS version",
    );
    const hasXml = await client.query("SELECT '<a/>'::xml").then(
      () => true,
      () => false,
    );
    const { version } = facts[0]!;
    const available = new Set(rows.map(({ name }) => name));
    const { types, extensions } = matrixTypes(version, available, hasXml);
    const missing = [
      ...CONTRIB_NAMES.filter((name) => !extensions.includes(name)),
      ...(hasXml ? [] : ["xml"]),
      ...(version < 170_000 ? ["infinite intervals"] : []),
    ];
    if (missing.length > 0)
      process.stderr.write(`type matrix: server ${version} lacks ${missing.join(", ")}\n`);
    return {
      types,
      ddl: [
        ...extensions.map((name) => `CREATE EXTENSION ${name} SCHEMA public`),
        MATRIX_TYPES_DDL,
      ],
    };
  } finally {
    await disconnect(client);
  }
}

/** A table with a column per type; row k of it holds the k-th value of each type, and the first again after the last. */
export class MatrixTable {
  readonly name: string;
  readonly types: readonly MatrixType[];
  readonly rows: number;

  constructor(name: string, types: readonly MatrixType[]) {
    this.name = name;
    this.types = types;
    this.rows = Math.max(...types.map(({ values }) => values.length));
  }

  static scalarsAndArrays(types: readonly MatrixType[], suffix: string): MatrixTable[] {
    return [
      new MatrixTable(`scalars_${suffix}`, types),
      new MatrixTable(`arrays_${suffix}`, types.map(arrayOf)),
    ];
  }

  get stream(): StreamRef {
    return stream(table(this.name), { otherwise: "Amended" });
  }

  columns(): string[] {
    return this.types.map((_, i) => `c${i}`);
  }

  ddl(identity: "FULL" | "DEFAULT"): string {
    const columns = this.types.map(({ type }, i) => `c${i} ${type}`).join(", ");
    return `CREATE TABLE public.${this.name} (id int PRIMARY KEY, ${columns});
            ALTER TABLE public.${this.name} REPLICA IDENTITY ${identity};
            CREATE TABLE public.${this.name}_again (LIKE public.${this.name})`;
  }

  /** The k-th value of each type. */
  values(k: number): string[] {
    return this.types.map(({ values }) => values[k % values.length]!);
  }

  insert(id: number, k: number): string {
    return `INSERT INTO public.${this.name} VALUES (${id}, ${this.values(k).join(", ")})`;
  }

  insertNulls(id: number): string {
    return `INSERT INTO public.${this.name} (id) VALUES (${id})`;
  }

  update(id: number, k: number): string {
    const values = this.values(k);
    const sets = this.columns().map((column, i) => `${column} = ${values[i]!}`);
    return `UPDATE public.${this.name} SET ${sets.join(", ")} WHERE id = ${id}`;
  }
}

/** The root row of every folded stream, by its id. */
export async function foldedRows(
  capture: Capture,
  streamType: string,
): Promise<Map<number, FoldedRow>> {
  const rows = new Map<number, FoldedRow>();
  for (const { state } of await capture.fold(streamType)) {
    for (const row of state.get(streamType)?.values() ?? []) rows.set(Number(row["id"]), row);
  }
  return rows;
}

/**
 * Casts folded text back into a table of the same columns and compares the two, value by value and
 * byte by byte (the equality of record images tells -0 from 0, and 1.0 from 1.00).
 * XML is compared as the server writes it, which is without a declaration that says nothing.
 */
export async function expectSameRows(
  url: string,
  original: string,
  again: string,
  columns: readonly string[],
  folded: Iterable<FoldedRow>,
): Promise<void> {
  const client = await connect({ url, applicationName: "test" });
  try {
    let count = 0;
    for (const row of folded) {
      count += 1;
      const places = columns.map((_, i) => `$${i + 1}`).join(", ");
      const cells = columns.map((name) => row[name] ?? null);
      const names = columns.map((name) => `"${name.replaceAll('"', '""')}"`).join(", ");
      await client.query(`INSERT INTO ${again} (${names}) VALUES (${places})`, cells);
    }
    const key = `"${columns[0]!.replaceAll('"', '""')}"`;
    const joined = `${original} a FULL JOIN ${again} b ON a.${key} = b.${key}`;
    const { rows: whole } = await client.query<{ same: boolean }>(
      `SELECT coalesce(bool_and(record_image_eq(a, b)), true) AS same FROM ${joined}`,
    );
    const differing: unknown[] = [];
    for (const name of whole[0]!.same ? [] : columns) {
      const column = `"${name.replaceAll('"', '""')}"`;
      const { rows } = await client.query<Record<string, unknown>>(
        `SELECT a.${key}::text AS row, a.${column}::text AS was, b.${column}::text AS is FROM ${joined}
          WHERE CASE WHEN pg_typeof(a.${column}) = ANY ('{xml,xml[]}'::regtype[])
                     THEN concat(a.${column}) <> concat(b.${column})
                     ELSE NOT record_image_eq(ROW(a.${column}), ROW(b.${column})) END`,
      );
      differing.push(...rows.map((found) => ({ column: name, ...found })));
    }
    expect(differing).toEqual([]);
    const { rows } = await client.query<{ count: string }>(`SELECT count(*) FROM ${original}`);
    expect(Number(rows[0]!.count)).toBe(count);
  } finally {
    await disconnect(client);
  }
}
