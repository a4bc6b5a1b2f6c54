import type pg from "pg";
import { copyFrames } from "./copy-frames.ts";
import { textArray } from "./store-arrays.ts";
import { fieldRoom } from "./store-binary.ts";
import { copyIn } from "./store-copy.ts";
import type { ImageChange, NewImage, RenamedTable } from "../../src/store/event-store.ts";

/** Bounds of one statement; its arrays are in memory at once, here and at the server. */
const IMAGES_PER_STATEMENT_MAX = 5_000;
const LENGTH_PER_STATEMENT_MAX = 4 * 1024 * 1024;

export async function readImages(
  client: pg.ClientBase,
  pipelineId: number,
  table: string,
  keys: readonly string[],
): Promise<readonly (string | undefined)[]> {
  const { rows } = await client.query<[string | null]>({
    name: "banyan-read-images",
    text: `SELECT ${lookUp("image", "$2", "k.key")} FROM unnest($3::text[]) WITH ORDINALITY AS k(key, n) ORDER BY k.n`,
    values: [pipelineId, table, textArray(keys)],
    rowMode: "array",
  });
  return rows.map(([image]) => image ?? undefined);
}

/**
 * Keeps and removes images; the last entry of a key wins. On a session that pipelines, the statements
 * are sent together.
 */
export async function writeImages(
  client: pg.ClientBase,
  pipelineId: number,
  images: readonly ImageChange[],
): Promise<void> {
  const last = new Map<string, ImageChange>();
  for (const image of images) last.set(`${image.table}\0${image.key}`, image);
  const gone: ImageChange[] = [];
  const kept: NewImage[] = [];
  for (const image of last.values()) {
    if (image.image === undefined) gone.push(image);
    else kept.push(image as NewImage);
  }
  const sent: Promise<unknown>[] = [];
  for (const part of parts(gone)) {
    sent.push(
      client.query({
        name: "banyan-remove-images",
        text: `DELETE FROM banyan.row_images WHERE ctid = ANY (ARRAY(
                 SELECT ${lookUp("ctid", "g.tab", "g.key")} FROM unnest($2::text[], $3::text[]) AS g(tab, key)))`,
        values: [pipelineId, ...keyArrays(part)],
      }),
    );
  }
  for (const part of parts(kept)) {
    sent.push(
      client.query({
        name: "banyan-keep-images",
        text: `INSERT INTO banyan.row_images (pipeline_id, table_name, row_key, image)
               SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::text[]) AS k
               ON CONFLICT (pipeline_id, table_name, row_key) DO UPDATE SET image = excluded.image`,
        values: [pipelineId, ...keyArrays(part), textArray(part.map(({ image }) => image))],
      }),
    );
  }
  await Promise.all(sent);
}

/** @returns behind which key there may be more; undefined when none is left */
export async function forgetImages(
  client: pg.ClientBase,
  pipelineId: number,
  table: string,
  after: string | undefined,
  imagesMax: number,
): Promise<string | undefined> {
  // Behind the last key: those before it are dead, and an index is long in forgetting them.
  const { rows } = await client.query<{ count: string; last: string | null }>({
    text: `WITH gone AS (
             DELETE FROM banyan.row_images WHERE ctid = ANY (ARRAY(
               SELECT i.ctid FROM banyan.row_images i
                WHERE i.pipeline_id = $1 AND i.table_name = $2 COLLATE "C"${after === undefined ? "" : ' AND i.row_key > $4 COLLATE "C"'}
                ORDER BY i.row_key LIMIT $3))
             RETURNING row_key)
           SELECT count(*) AS count, max(row_key) AS last FROM gone`,
    values: [pipelineId, table, imagesMax, ...(after === undefined ? [] : [after])],
  });
  const { count, last } = rows[0]!;
  return Number(count) < imagesMax ? undefined : (last ?? undefined);
}

/** Moves the images of tables that are called something else now; some may have exchanged their names. */
export async function renameImages(
  client: pg.ClientBase,
  pipelineId: number,
  renamed: readonly RenamedTable[],
): Promise<void> {
  const from = renamed.map((table) => table.from);
  const to = renamed.map((table) => table.to);
  // No two images may lie at one place, so all are moved out of the way first.
  const meanwhile = to.map((name) => `\u0001${name}`);
  const move = (before: readonly string[], after: readonly string[]): Promise<unknown> =>
    client.query(
      `UPDATE banyan.row_images image SET table_name = name.after
         FROM unnest($2::text[], $3::text[]) name (before, after)
        WHERE image.pipeline_id = $1 AND image.table_name = name.before COLLATE "C"`,
      [pipelineId, before, after],
    );
  await Promise.all([
    move(from, meanwhile),
    client.query(
      `DELETE FROM banyan.row_images WHERE pipeline_id = $1 AND table_name = ANY ($2::text[])`,
      [pipelineId, to],
    ),
    move(meanwhile, to),
  ]);
}

/** Images of rows that have none yet. The client must be idle. */
export async function copyImages(
  client: pg.Client,
  pipelineId: number,
  images: readonly NewImage[],
): Promise<void> {
  const frames = copyFrames(images.length, (out, i) => {
    const { table, key, image } = images[i]!;
    out.reserve(10 + fieldRoom(table) + fieldRoom(key) + fieldRoom(image));
    out.int2(4);
    out.int4Field(pipelineId);
    out.textField(table);
    out.textField(key);
    out.textField(image);
  });
  await copyIn(
    client,
    "COPY banyan.row_images (pipeline_id, table_name, row_key, image) FROM STDIN (FORMAT binary)",
    frames,
  );
}

/** Images that are kept only where there is none; each row once. */
export async function keepMissingImages(
  client: pg.ClientBase,
  pipelineId: number,
  images: readonly NewImage[],
): Promise<void> {
  const sent: Promise<unknown>[] = [];
  for (const part of parts(images)) {
    sent.push(
      client.query({
        name: "banyan-keep-missing-images",
        text: `INSERT INTO banyan.row_images (pipeline_id, table_name, row_key, image)
               SELECT $1, k.* FROM unnest($2::text[], $3::text[], $4::text[]) AS k
               ON CONFLICT (pipeline_id, table_name, row_key) DO NOTHING`,
        values: [pipelineId, ...keyArrays(part), textArray(part.map(({ image }) => image))],
      }),
    );
  }
  await Promise.all(sent);
}

/**
 * One look into the primary key per row. Not a join: planned while the table is small it would read
 * all of it, and the plan is kept while the table grows.
 */
function lookUp(column: string, table: string, key: string): string {
  return `(SELECT i.${column} FROM banyan.row_images i
            WHERE i.pipeline_id = $1 AND i.table_name = ${table} COLLATE "C" AND i.row_key = ${key} COLLATE "C")`;
}

function keyArrays(images: readonly ImageChange[]): [Buffer, Buffer] {
  return [textArray(images.map(({ table }) => table)), textArray(images.map(({ key }) => key))];
}

function* parts<T extends ImageChange>(images: readonly T[]): Generator<readonly T[], void, void> {
  let from = 0;
  let length = 0;
  for (let i = 0; i < images.length; i++) {
    length += images[i]!.image?.length ?? 0;
    const full = i + 1 - from === IMAGES_PER_STATEMENT_MAX || length >= LENGTH_PER_STATEMENT_MAX;
    if (!full && i + 1 < images.length) continue;
    yield images.slice(from, i + 1);
    from = i + 1;
    length = 0;
  }
}
