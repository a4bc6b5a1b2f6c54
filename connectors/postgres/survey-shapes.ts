import { readTables, type Ask, type CatalogueEntry } from "./catalogue.ts";
import { sqlstateOf } from "./sqlstate.ts";
import { qualifiedName } from "../../src/model/table.ts";
import type { SurveyedTable } from "./survey-tables.ts";

const LOCK_NOT_AVAILABLE = "55P03";

/**
 * The tables as a capture would see them, by OID.
 *
 * To list a table's partitions the server locks each of them for a moment. Where somebody holds one of
 * them, the table is described by a partition that is free, which has its columns and its key.
 */
export async function readShapes(
  ask: Ask,
  tables: readonly SurveyedTable[],
): Promise<ReadonlyMap<number, CatalogueEntry>> {
  const entries = await unlessLocked(() =>
    readNamed(
      ask,
      tables.map(({ name }) => name),
    ),
  );
  if (entries !== undefined) return byOid(entries);
  const plain = tables.filter(({ kind }) => kind !== "p");
  const found = [
    ...(await readNamed(
      ask,
      plain.map(({ name }) => name),
    )),
  ];
  for (const table of tables.filter(({ kind }) => kind === "p")) {
    const own = await unlessLocked(() => readNamed(ask, [table.name]));
    found.push(...(own ?? (await readByPartition(ask, table))));
  }
  return byOid(found);
}

async function readByPartition(
  ask: Ask,
  { oid, kind, name, schema, relation, leaves }: SurveyedTable,
): Promise<readonly CatalogueEntry[]> {
  const names = leaves.map((leaf) => qualifiedName(leaf.schema, leaf.relation));
  const entries = await readNamed(ask, names);
  const [like] = entries;
  if (like === undefined) return [];
  const table = Object.freeze({ ...like.table, name, schema, relation });
  return [{ ...like, oid, kind, table, leaves: entries.flatMap((entry) => entry.leaves) }];
}

async function readNamed(ask: Ask, names: readonly string[]): Promise<readonly CatalogueEntry[]> {
  return await readTables(ask, names, "", new Map());
}

async function unlessLocked<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (sqlstateOf(error) !== LOCK_NOT_AVAILABLE) throw error;
    return undefined;
  }
}

function byOid(entries: readonly CatalogueEntry[]): ReadonlyMap<number, CatalogueEntry> {
  return new Map(entries.map((entry) => [entry.oid, entry]));
}
