import { setTimeout as sleep } from "node:timers/promises";
import { startProgram } from "../../support/cli.ts";
import { did, didNot, type Fault } from "../fault.ts";
import { between, oneOf, pause, seconds } from "../random.ts";
import { inSession } from "../session.ts";

const STACK = /^\s+at .+:\d+:\d+\)?$/m;
/** A busy machine takes its time to start the command. */
const ASK_MS_MAX = 8_000;
const POLL_MS = 50;
const WAIT_MS_MAX = 12_000;
/** After the command has ended, a run that it had begun itself may be heard of. */
const FENCED_MS_MAX = 10_000;

/**
 * `banyan rebaseline --stream …` of streams that change, of some that are gone, and of one that never was.
 * What was asked for is kept whatever happens, so that the command, or the capture in the middle of it, may be killed.
 */
export const readAnew: Fault = {
  name: "streams read anew",
  needs: ["capture"],
  async run(world, random, signal) {
    const { captures, commandLine, source } = world;
    if ((await world.phase()) !== "tail") return didNot("not yet: there is no baseline");
    const count = between(random, 1, 60);
    const streams = await inSession(source.url, async (client) => {
      const { rows } = await client.query<{ stream: string }>(
        `(SELECT 'order-' || id AS stream FROM orders ORDER BY updated_at DESC LIMIT $1)
         UNION (SELECT 'order-' || (old_row->>'id') FROM audit.changes WHERE relation = 'orders' AND operation = 'delete' ORDER BY seq DESC LIMIT 3)
         UNION (SELECT 'product-' || sku FROM products ORDER BY updated_at DESC LIMIT 2)`,
        [count],
      );
      return rows.map(({ stream }) => stream);
    });
    if (streams === undefined) return didNot("the source was away");
    if (world.captured().includes("customers")) streams.push("customer-1", "customer-2");
    const way = oneOf(random, ["in peace", "and the capture killed", "and the command killed"]);
    // One that finds none at work runs the pipeline itself, until the next capture takes it over.
    using _ = captures.explain("PIPELINE_FENCED", FENCED_MS_MAX);
    const before = await world.askedAnew();
    const { args, cwd, env } = commandLine(["rebaseline", "--yes", "--json", "--stream"]);
    const { child, ended } = startProgram([...args, ...streams], { cwd, env });
    const afterMs = between(random, 0, 600);
    const deadline = performance.now() + ASK_MS_MAX;
    while (child.exitCode === null && performance.now() < deadline) {
      if ((await world.askedAnew()) > before) break;
      await sleep(POLL_MS);
    }
    const over = AbortSignal.any([signal, AbortSignal.timeout(WAIT_MS_MAX)]);
    const stop = (): void => void child.kill("SIGTERM");
    if (over.aborted) stop();
    else over.addEventListener("abort", stop, { once: true });
    if (way !== "in peace") await pause(afterMs, over);
    if (way === "and the command killed") child.kill("SIGKILL");
    if (way === "and the capture killed") await captures.kill();
    const { exitCode, stdout, stderr } = await ended;
    over.removeEventListener("abort", stop);
    const text = `${streams.length} streams, ${way}${way === "in peace" ? "" : ` after ${seconds(afterMs)}`}`;
    if (STACK.test(stderr) || (exitCode !== null && exitCode !== 0 && exitCode !== 4))
      throw new Error(`banyan rebaseline ended with ${exitCode}:\n${stdout}\n${stderr}`);
    const code = /\[[A-Z_]+\]/.exec(stderr)?.[0] ?? "";
    // What was asked for is kept, and done by whoever runs.
    return (await world.askedAnew()) > before
      ? did(`${text} ${code}`.trim())
      : didNot(`${text} ${code}`);
  },
};
