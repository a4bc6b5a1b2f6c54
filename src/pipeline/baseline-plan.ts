import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
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

/** What a baseline is read of. */
export interface BaselineOf {
  readonly stream: StreamPlan;
  /** Names of the tables that join streams which are there, whose rows alone are read; absent for all. */
  readonly tables?: readonly string[];
  /** Why it cannot be read in chunks, as far as the source has nothing to do with that. */
  readonly obstacle?: string;
}

export interface StreamBaseline extends Omit<BaselineOf, "obstacle"> {
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
  wanted: readonly BaselineOf[],
  mode: BaselineMode,
): Promise<readonly StreamBaseline[]> {
  if (mode === "snapshot")
    return wanted.map(({ obstacle: _obstacle, ...of }) => ({
      ...of,
      isChunked: false,
      why: "as asked for with --baseline snapshot",
      rowsEstimated: 0,
    }));
  const surveys: ChunkSurvey[] = [];
  for (const { stream, tables } of wanted) {
    const keyed = keyedTables(mapping, stream, tables);
    const survey = await source.surveyChunks(keyed);
    // The root sets the ends of the chunks, and is not read.
    const { rows, bytes } =
      tables === undefined ? survey : await source.surveyChunks(keyed.slice(1));
    surveys.push({ ...survey, rows, bytes });
  }
  const rows = surveys.reduce((sum, survey) => sum + survey.rows, 0);
  const bytes = surveys.reduce((sum, survey) => sum + survey.bytes, 0);
  const isSmall = rows <= SNAPSHOT_ROWS_MAX && bytes <= SNAPSHOT_BYTES_MAX;
  const megabytes = Math.ceil(bytes / 1024 / 1024);
  const size = isSmall
    ? "the tables are small"
    : `the tables hold about ${plural(rows, "row")} in ${count(megabytes)} MB`;
  return wanted.map(({ obstacle: given, ...of }, i) => {
    const { obstacle = given, rows: rowsEstimated } = surveys[i]!;
    const isWanted = mode === "chunked" || !isSmall;
    const isChunked = isWanted && obstacle === undefined;
    const asked = mode === "chunked" ? "as asked for with --baseline chunked" : size;
    const why =
      isWanted && obstacle !== undefined ? `cannot be read in chunks: ${obstacle}` : asked;
    return { ...of, isChunked, why, rowsEstimated };
  });
}

/** How the key of a stream type's root is ordered. */
export function keyOrder(mapping: Mapping, stream: StreamPlan): readonly OrderColumn["as"][] {
  const [root] = keyedTables(mapping, stream);
  return root!.columns.map((column) => orderOf(root!.table.columns[column]!.type));
}

/**
 * The tables of a stream type with the columns that hold the root's key; the root first.
 *
 * @param joining the root and these alone
 */
export function keyedTables(
  mapping: Mapping,
  { ref, roles }: StreamPlan,
  joining?: readonly string[],
): readonly KeyedTable[] {
  const isAsked = (name: string): boolean =>
    joining === undefined || name === ref.root.name || joining.includes(name);
  return roles
    .filter(({ tableRef }) => isAsked(tableRef.name))
    .map(({ tableRef }) => {
      const table = mapping.shapeOf(tableRef.name)!;
      return { table, columns: mapping.mapperOf(table)!.parts.streamColumns };
    });
}
