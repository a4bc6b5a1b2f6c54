import { expect, inject, test } from "vitest";
import { worldOf } from "./reverse-support.ts";
import { MatrixTable, typesOf } from "../connectors/postgres/type-matrix-support.ts";
import { onSession, sourceDatabase } from "../connectors/postgres/source-support.ts";

/*
 * Every kind of value goes three ways into a row: it is inserted, it replaces NULL, and it takes the place
 * of another, which must be found unchanged before. All make the row that the legacy application made,
 * byte for byte.
 */

const NEW = 1_000;
const NULLS = 200;

test("values of every type are written back as they were", async () => {
  const db = await sourceDatabase("reverse_types");
  const { types, ddl } = await typesOf(inject("pgUrl"));
  const tables = MatrixTable.scalarsAndArrays(types, "back");
  const rows = tables.flatMap((table) =>
    Array.from({ length: table.rows }, (_, k) => [
      table.insert(k, k),
      table.insertNulls(NULLS + k),
    ]).flat(),
  );
  await onSession(db.url, [
    ...ddl,
    ...tables.map((table) => table.ddl("FULL")),
    ...rows,
    ...tables.map(({ name }) => `INSERT INTO public.${name}_again SELECT * FROM public.${name}`),
  ]);
  const published = tables.map(({ name }) => `public.${name}`).join(", ");
  await db.query(
    `CREATE PUBLICATION "${db.publication.replaceAll('"', '""')}" FOR TABLE ${published}`,
  );
  const streams = Object.fromEntries(tables.map((table) => [table.name, table.stream]));
  await using world = await worldOf(db, streams);
  for (const { name, rows: count } of tables) {
    const told = new Map<number, Readonly<Record<string, unknown>>>();
    for await (const page of world.store.readStreamType(name, AbortSignal.timeout(60_000)))
      for (const { data } of page) told.set(Number(data["id"]), data);
    const amended = async (id: number, op: "insert" | "update", k: number): Promise<void> => {
      const data = { ...told.get(k)!, $row: name, $op: op, id };
      await world.append(`${name}-${id}`, [{ type: "Amended", data }]);
    };
    for (let k = 0; k < count; k++) {
      await amended(NEW + k, "insert", k);
      await amended(NULLS + k, "update", k);
      await amended(k, "update", (k + 1) % count);
    }
  }
  await world.writeBack();
  expect(await world.store.reverse.status("shop", 5)).toMatchObject({ conflicts: 0, samples: [] });
  for (const table of tables) {
    const differing: unknown[] = [];
    for (const [i, column] of table.columns().entries()) {
      const { rows: found } = await db.query(
        `SELECT a.id, a.${column}::text AS is, b.${column}::text AS was
           FROM public.${table.name} a JOIN public.${table.name}_again b
             ON b.id = CASE WHEN a.id >= ${NEW} THEN a.id - ${NEW} WHEN a.id >= ${NULLS} THEN a.id - ${NULLS} ELSE (a.id + 1) % ${table.rows} END
          WHERE CASE WHEN pg_typeof(a.${column}) = ANY ('{xml,xml[]}'::regtype[]) THEN concat(a.${column}) <> concat(b.${column})
                     ELSE NOT record_image_eq(ROW(a.${column}), ROW(b.${column})) END`,
      );
      differing.push(...found.map((row: object) => ({ type: table.types[i]!.type, ...row })));
    }
    expect(differing).toEqual([]);
    const { rows: all } = await db.query(`SELECT count(*)::int AS n FROM public.${table.name}`);
    expect((all[0] as { n: number }).n).toBe(table.rows * 3);
  }
});
