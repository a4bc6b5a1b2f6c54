import { keyedTables } from "./baseline-plan.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { StreamPlan } from "../mapping/stream-plan.ts";
import type { ChangeSource } from "../source/change-source.ts";
import type { RebaselineRequest } from "../store/event-store.ts";

/** Streams read anew under one snapshot, in one commit, at first; */
const STREAMS_PER_CHUNK = 200;
/**
 * then as many as take so long, up to a page. Nothing of the log is written meanwhile; much of it is spent
 * waiting until the source has flushed what is read, however little that is.
 */
const CHUNK_MS = 500;
/** Likewise where each reads a whole table, for want of an index: that is done seldom. */
const STREAMS_PER_SCAN = 5_000;
/** Rows beyond which fewer streams are read at once the next time. */
const ROWS_PER_CHUNK = 200_000;
/** Of streams that the process died of, so many parts are read one by one. */
const PARTS = 16;

/** Requests looked at for one page. */
export const REQUESTS_PER_PAGE = STREAMS_PER_SCAN;

/** How many streams are read anew at once: by the rows that the ones before had. One for a run. */
export class RebaselineSize {
  readonly #source: Pick<ChangeSource, "surveyChunks">;
  readonly #scanned = new Map<string, boolean>();
  #inTime = STREAMS_PER_CHUNK;
  #streams = STREAMS_PER_CHUNK;

  constructor(source: Pick<ChangeSource, "surveyChunks">) {
    this.#source = source;
  }

  /**
   * The first requests of a stream type, as many as are read together. Those that were begun before, when
   * the process ended in their midst, come together with their like, and fewer each time: one of them may
   * be what it died of.
   */
  async first(
    requests: readonly RebaselineRequest[],
    mapping: Mapping,
    stream: StreamPlan,
  ): Promise<readonly RebaselineRequest[]> {
    const attempts = requests[0]?.attempts ?? 0;
    const other = requests.findIndex((request) => request.attempts !== attempts);
    const streams = await this.#streamsAfter(attempts, mapping, stream);
    return requests.slice(0, other < 0 ? streams : Math.min(other, streams));
  }

  /** Streams were read, had so many rows, and took so long with what it takes to write them. */
  read(streams: number, rows: number, ms: number): void {
    if (streams === 0) return;
    if (ms > CHUNK_MS)
      this.#inTime = Math.max(STREAMS_PER_CHUNK, Math.floor((streams * CHUNK_MS) / ms));
    // Of fewer than might have been it says little.
    else if (streams >= this.#inTime) this.#inTime = Math.min(REQUESTS_PER_PAGE, 2 * this.#inTime);
    const fitting = Math.floor((ROWS_PER_CHUNK * streams) / Math.max(1, rows));
    this.#streams = Math.min(this.#inTime, Math.max(1, fitting));
  }

  async #streamsAfter(attempts: number, mapping: Mapping, stream: StreamPlan): Promise<number> {
    if (attempts > 0)
      return Math.min(this.#streams, Math.ceil(STREAMS_PER_CHUNK / PARTS ** attempts));
    return (await this.#isScanned(mapping, stream)) ? STREAMS_PER_SCAN : this.#streams;
  }

  async #isScanned(mapping: Mapping, stream: StreamPlan): Promise<boolean> {
    let isScanned = this.#scanned.get(stream.type);
    if (isScanned === undefined) {
      const { unindexed = [] } = await this.#source.surveyChunks(keyedTables(mapping, stream));
      isScanned = unindexed.length > 0;
      this.#scanned.set(stream.type, isScanned);
    }
    return isScanned;
  }
}
