import type { Mapping, StreamPlan } from "../mapping/compile.ts";
import type {
  ChangeSource,
  ChunkSurvey,
  KeyedTable,
  OrderColumn,
} from "../source/change-source.ts";
import { orderOf } from "../source/key-order.ts";
import { count, plural } from "../model/count-text.ts";

/** `auto`: in chunks where that is worth it and possible. */
export type BaselineMode = "auto" | "snapshot" | "chunked";

/** Up to both, one snapshot is read within a minute or so, which is simpler and holds up nobody. */
const SNAPSHOT_ROWS_MAX = 3_000_000;
const SNAPSHOT_BYTES_MAX = 1024 * 1024 * 1024;

export interface StreamBaseline {
  readonly stream: StreamPlan;
  readonly isChunked: boolean;
  /** For people. */
  readonly why: string;
  readonly rowsEstimated: number;
}

/**
 * Decides for each stream type whether its baseline is read under one snapshot or in chunks. Chunks
 * hold no transaction open and go on after a kill, but need an order of keys that is known here and an
 * index for each table.
 */
export async function planBaselines(
  source: Pick<ChangeSource, "surveyChunks">,
  mapping: Mapping,
  streams: readonly StreamPlan[],
  mode: BaselineMode,
): Promise<readonly StreamBaseline[]> {
  if (mode === "snapshot")
    return streams.map((stream) => ({
      stream,
      isChunked: false,
      why: "as asked for with --baseline snapshot",
      rowsEstimated: 0,
    }));
  const surveys: ChunkSurvey[] = [];
  for (const stream of streams)
    surveys.push(await source.surveyChunks(keyedTables(mapping, stream)));
  const rows = surveys.reduce((sum, survey) => sum + survey.rows, 0);
  const bytes = surveys.reduce((sum, survey) => sum + survey.bytes, 0);
  const isSmall = rows <= SNAPSHOT_ROWS_MAX && bytes <= SNAPSHOT_BYTES_MAX;
  const megabytes = Math.ceil(bytes / 1024 / 1024);
  const size = isSmall
    ? "the tables are small"
    : `the tables hold about ${plural(rows, "row")} in ${count(megabytes)} MB`;
  return streams.map((stream, i) => {
    const { obstacle, rows: rowsEstimated } = surveys[i]!;
    const isWanted = mode === "chunked" || !isSmall;
    const isChunked = isWanted && obstacle === undefined;
    const asked = mode === "chunked" ? "as asked for with --baseline chunked" : size;
    const why =
      isWanted && obstacle !== undefined ? `cannot be read in chunks: ${obstacle}` : asked;
    return { stream, isChunked, why, rowsEstimated };
  });
}

/** How the key of a stream type's root is ordered. */
export function keyOrder(mapping: Mapping, stream: StreamPlan): readonly OrderColumn["as"][] {
  const [root] = keyedTables(mapping, stream);
  return root!.columns.map((column) => orderOf(root!.table.columns[column]!.type));
}

/** The tables of a stream type with the columns that hold the root's key; the root first. */
export function keyedTables(mapping: Mapping, stream: StreamPlan): readonly KeyedTable[] {
  return stream.roles.map(({ tableRef }) => {
    const table = mapping.shapeOf(tableRef.name)!;
    return { table, columns: mapping.mapperOf(table)!.parts.streamColumns };
  });
}
