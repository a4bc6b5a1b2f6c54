import { judgeWaiting, type Judged, type JudgeOptions } from "./judge-waiting.ts";
import type { BanyanError } from "../../model/errors.ts";
import type { Position } from "../../model/position.ts";
import { runWithRetry } from "../../runtime/loop.ts";
import type { EventStore } from "../../store/event-store.ts";
import { pause } from "../../runtime/pause.ts";

export interface RunJudgeOptions extends JudgeOptions {
  /** `ChangeSource.fence` of the legacy database. */
  readonly fence: () => Promise<Position>;
  /** After each pass that gave a verdict. */
  readonly onJudged?: (judged: Judged) => void;
  readonly onRetry?: (event: { readonly delayMs: number; readonly error: BanyanError }) => void;
}

const PAUSE_MS = 500;
const PURGE_EVERY_MS = 60_000;
/** Writes and their verdicts are kept so long. */
const KEPT_MS = 7 * 86_400_000;
/** Rows of each kind that one purge takes. */
const PURGE_ROWS_MAX = 10_000;
const BACKOFF = { backoffMsMin: 250, backoffMsMax: 15_000, steadyMs: 30_000 };

/**
 * Gives verdicts to dual writes until the signal aborts: whatever the two applications answered while
 * the capture has got that far. Several may run at once; what could not be reached is tried again.
 */
export async function runJudge(options: RunJudgeOptions, signal: AbortSignal): Promise<void> {
  const remembering = { ...options, routesSaid: options.routesSaid ?? new Set<string>() };
  await runWithRetry({
    ...BACKOFF,
    signal,
    attempt: () => judgeUntilAborted(remembering, signal),
    onRetry: ({ delayMs, error }) => options.onRetry?.({ delayMs, error }),
  });
}

async function judgeUntilAborted(options: RunJudgeOptions, signal: AbortSignal): Promise<void> {
  const { pipeline, store, streams } = options;
  const watch = new CaptureWatch(pipeline, store, options.fence);
  let purgedMs = 0;
  while (!signal.aborted) {
    if (await hasWaiting(options)) {
      const before = watch.capturedToMs;
      const capturedToMs = await watch.look();
      if (capturedToMs > before) {
        const judged = await judgeWaiting(options, capturedToMs, signal);
        if (judged.pass + judged.fail + judged.inconclusive > 0) options.onJudged?.(judged);
      }
    }
    if (Date.now() - purgedMs >= PURGE_EVERY_MS) {
      const gone = await store.dual.purge(
        pipeline,
        Object.keys(streams),
        Date.now() - KEPT_MS,
        PURGE_ROWS_MAX,
      );
      // A full purge has left some: the next comes at once.
      if (gone < PURGE_ROWS_MAX) purgedMs = Date.now();
    }
    await pause(PAUSE_MS, signal);
  }
}

/** Without it an idle legacy database would get a mark into its log twice a second. */
async function hasWaiting({ pipeline, store, settings }: RunJudgeOptions): Promise<boolean> {
  const page = { answeredBefore: Date.now(), after: undefined, limit: 1 };
  const windowMs = settings.windowSeconds * 1000;
  return (await store.dual.waiting(pipeline, { ...page, windowMs })).length > 0;
}

/**
 * Knows up to when the store has all that was committed in the legacy database: marks are written into
 * its log, and what was committed before a mark is in the store once the pipeline has passed it.
 */
export class CaptureWatch {
  readonly #pipeline: string;
  readonly #store: Pick<EventStore, "pipeline">;
  readonly #fence: () => Promise<Position>;
  #awaited: { readonly position: Position; readonly atMs: number } | undefined;
  #capturedToMs = 0;

  constructor(
    pipeline: string,
    store: Pick<EventStore, "pipeline">,
    fence: () => Promise<Position>,
  ) {
    this.#pipeline = pipeline;
    this.#store = store;
    this.#fence = fence;
  }

  /** Milliseconds since 1970; 0 before the first mark is passed. */
  get capturedToMs(): number {
    return this.#capturedToMs;
  }

  async look(): Promise<number> {
    if (this.#awaited === undefined) {
      const atMs = Date.now();
      this.#awaited = { position: await this.#fence(), atMs };
    }
    const record = await this.#store.pipeline(this.#pipeline);
    const { position, atMs } = this.#awaited;
    if (record?.checkpoint !== undefined && record.checkpoint >= position) {
      this.#capturedToMs = atMs;
      this.#awaited = undefined;
    }
    return this.#capturedToMs;
  }
}
