/** A thread that compares large answers, so that no other read waits for that. See answer-comparer.ts. */
import { parentPort } from "node:worker_threads";
import { comparedAnswers, UNCOMPARED, type Comparison } from "./compared-answers.ts";
import type { Answer } from "../verify/compare-answers.ts";

parentPort!.on("message", ({ a, b, ...rest }: Comparison) => {
  try {
    parentPort!.postMessage(comparedAnswers({ a: withBuffer(a), b: withBuffer(b), ...rest }));
  } catch {
    parentPort!.postMessage(UNCOMPARED);
  }
});

/** A buffer comes as plain bytes. */
function withBuffer({ body, ...answer }: Answer): Answer {
  return { ...answer, body: Buffer.from(body.buffer, body.byteOffset, body.byteLength) };
}
