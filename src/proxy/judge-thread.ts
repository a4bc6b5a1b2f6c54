/** The thread that asks again what clients have read, and compares. See threaded-judge.ts. */
import { parentPort, workerData } from "node:worker_threads";
import type { JudgeStart, ToJudge } from "./judge-messages.ts";
import { JudgeReporter } from "./judge-reporter.ts";
import type { HandedRead } from "./read-batch.ts";
import { ReadJudge } from "./read-judge.ts";
import { kindOf } from "./read-key.ts";
import { ReadQueue } from "./read-queue.ts";
import { ShadowBody, ShadowBytes } from "./shadow-bytes.ts";
import { ShadowClient, WAITING_SHARE_MAX } from "./shadow-client.ts";
import { lowerThreadPriority } from "./thread-priority.ts";
import { otherSide, SIDES, type Side } from "../rollout/stage.ts";
import { steadyNowMs } from "../runtime/steady-clock.ts";

const { settings, routes, upstreams, bytes: shared, recheckMs } = workerData as JudgeStart;
const bytes = new ShadowBytes(undefined, shared);
/** By the side that is asked: one that is slow keeps back its own reads alone. */
const queues: Record<Side, ReadQueue> = { legacy: new ReadQueue(), new: new ReadQueue() };
const client = (side: Side): ShadowClient =>
  new ShadowClient(side, upstreams[side], settings, bytes, () => askNext(side));
const clients = { legacy: client("legacy"), new: client("new") };
const judge: ReadJudge = new ReadJudge({
  settings,
  clients,
  recheckMs,
  onOutcome: ({ key }, outcome) => reporter.count(key, outcome),
  onDifference: ({ key, target }, differences) => reporter.tell({ key, target, differences }),
});
const reporter = new JudgeReporter(judge, clients, queues, (report) =>
  parentPort!.postMessage(report),
);

/** As many at once as there are connections. */
function askNext(side: Side): void {
  while (clients[side].hasRoom && queues[side].next(begin));
}

function begin({ key, target, headers, answer, body: chunks }: HandedRead, sentMs: number): void {
  const body = ShadowBody.lent(bytes, chunks);
  // What came while this thread was starting has waited for that alone.
  const waitedMs = steadyNowMs() - Math.max(sentMs, readyMs);
  if (waitedMs > settings.timeoutMs * WAITING_SHARE_MAX) {
    body.free();
    return reporter.count(key, "dropped");
  }
  const { route, method, side } = kindOf(key, routes);
  const { status, headers: told } = answer;
  judge.judge({ key, route, method, side, target, headers }, { status, headers: told, body });
}

async function close(): Promise<void> {
  for (const side of SIDES) {
    clients[side].close();
    askNext(side);
  }
  await judge.close();
  reporter.close();
  parentPort!.close();
}

const readyMs = steadyNowMs();
parentPort!.on("message", (message: ToJudge) => {
  if (message === "close") return void close();
  const asked = otherSide(message.answeredBy);
  queues[asked].add(message);
  askNext(asked);
  reporter.wake();
});
// After its start, for which others should not have to wait.
lowerThreadPriority();
