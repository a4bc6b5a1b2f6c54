/** The thread that asks again what clients have read, and compares. See threaded-judge.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { HandedBatch, JudgeStart, ToJudge } from "./judge-messages.ts";
import { JudgeReporter } from "./judge-reporter.ts";
import { readsOf } from "./read-batch.ts";
import { ReadJudge } from "./read-judge.ts";
import { kindOf } from "./read-key.ts";
import { ShadowBody, ShadowBytes } from "./shadow-bytes.ts";
import { ShadowClient, WAITING_SHARE_MAX } from "./shadow-client.ts";
import { lowerThreadPriority } from "./thread-priority.ts";
import type { Side } from "../rollout/stage.ts";
import { steadyNowMs } from "../runtime/steady-clock.ts";

const { settings, routes, upstreams, bytes: shared, recheckMs } = workerData as JudgeStart;
const bytes = new ShadowBytes(undefined, shared);
const client = (side: Side): ShadowClient =>
  new ShadowClient(side, upstreams[side], settings, bytes);
const clients = { legacy: client("legacy"), new: client("new") };
const judge: ReadJudge = new ReadJudge({
  settings,
  clients,
  recheckMs,
  onOutcome: ({ key }, outcome) => reporter.count(key, outcome),
  onDifference: ({ key, target }, differences) => reporter.tell({ key, target, differences }),
});
const reporter = new JudgeReporter(judge, clients, (report) => parentPort!.postMessage(report));

function take(batch: HandedBatch): void {
  // What came while this thread was starting has waited for that alone.
  const waitedMs = steadyNowMs() - Math.max(batch.sentMs, readyMs);
  const isLate = waitedMs > settings.timeoutMs * WAITING_SHARE_MAX;
  for (const { key, target, headers, answer, body: chunks } of readsOf(batch)) {
    const body = ShadowBody.lent(bytes, chunks);
    if (isLate) {
      body.free();
      reporter.count(key, "dropped");
    } else judge.judge({ ...kindOf(key, routes), key, target, headers }, { ...answer, body });
  }
  reporter.wake();
}

async function close(): Promise<void> {
  await Promise.all([clients.legacy.close(), clients.new.close(), judge.close()]);
  reporter.close();
  parentPort!.close();
}

const readyMs = steadyNowMs();
parentPort!.on("message", (message: ToJudge) => {
  if (message === "close") void close();
  else take(message);
});
// After its start, for which others should not have to wait.
lowerThreadPriority();
