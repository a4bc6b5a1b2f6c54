import { judgeWaiting } from "./judge-waiting.ts";
import { CaptureWatch, type RunJudgeOptions } from "./run-judge.ts";
import { SKEW_MS } from "../../store/dual-store.ts";
import { pause } from "../../runtime/pause.ts";

const LOOK_MS = 100;

/**
 * Gives a verdict to what waits now.
 *
 * @param until `due`: to what a judge that runs would have judged already. `all`: also to the newest writes,
 *   for which the window has to pass first
 * @returns false when the capture did not get there in time
 */
export async function judgeOnce(
  options: RunJudgeOptions,
  until: "due" | "all",
  waitMsMax: number,
  signal: AbortSignal,
): Promise<boolean> {
  const watch = new CaptureWatch(options.pipeline, options.store, options.fence);
  const nowMs = Date.now();
  const windowMs = options.settings.windowSeconds * 1000;
  const goalMs = until === "due" ? nowMs : nowMs + windowMs + SKEW_MS;
  for (;;) {
    const before = watch.capturedToMs;
    const capturedToMs = await watch.look();
    if (capturedToMs > before) await judgeWaiting(options, capturedToMs, signal);
    if (capturedToMs >= goalMs) return true;
    if (signal.aborted || Date.now() - nowMs > waitMsMax) return false;
    await pause(LOOK_MS, signal);
  }
}
