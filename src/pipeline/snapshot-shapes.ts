import type { EventWriter } from "./event-writer.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { SourceTable } from "../model/table.ts";

/**
 * The tables of a chunk's snapshot as shapes that have a mapper. A snapshot may be ahead of the log and
 * show what an ALTER TABLE made; the log tells of the shape before all the same, each with its mapper.
 */
export async function shapesOf(
  tables: readonly SourceTable[],
  { mapping, writer }: { readonly mapping: Mapping; readonly writer: EventWriter },
  signal: AbortSignal,
  hasTurn = false,
): Promise<readonly SourceTable[]> {
  const known = tables.map((table) => {
    const shape = mapping.shapeOf(table.name);
    return shape !== undefined && isSame(shape, table) ? shape : table;
  });
  const isKnown = (table: SourceTable): boolean => mapping.mapperOf(table) !== undefined;
  if (known.every(isKnown)) return known;
  // The mapping is changed by whoever may write, like by the log.
  const giveTurn = hasTurn ? (): void => undefined : await writer.turn(signal);
  try {
    await writer.adoptShapes(known.filter((table) => !isKnown(table)).map((table) => ({ table })));
  } finally {
    giveTurn();
  }
  return known;
}

/** Whether rows of the two are told alike; what only the catalogue knows is no difference. */
function isSame(a: SourceTable, b: SourceTable): boolean {
  return (
    a.replicaIdentity === b.replicaIdentity &&
    a.columns.length === b.columns.length &&
    a.columns.every(
      ({ name, type }, i) => name === b.columns[i]!.name && type === b.columns[i]!.type,
    ) &&
    a.key.join() === b.key.join()
  );
}
