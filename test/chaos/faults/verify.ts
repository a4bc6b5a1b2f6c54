import { startProgram } from "../../support/cli.ts";
import { did, didNot, type Fault } from "../fault.ts";

const WAIT_SECONDS = 10;

/** No fault of its own: `banyan verify` in the middle of others may be unable to tell, and may never be wrong. */
export const verifyMeanwhile: Fault = {
  name: "verify meanwhile",
  needs: [],
  async run({ commandLine }, _random, signal) {
    const { args, cwd, env } = commandLine(["verify", "--json", "--wait", String(WAIT_SECONDS)]);
    const { child, ended } = startProgram(args, { cwd, env });
    // It stops without a verdict then.
    signal.addEventListener("abort", () => child.kill("SIGTERM"), { once: true });
    const { exitCode, stdout, stderr } = await ended;
    if (exitCode === null && signal.aborted) return didNot("stopped with the round");
    if (exitCode === 0) return did("equal");
    if (exitCode === 4 && !/^\s+at .+:\d+:\d+\)?$/m.test(stderr))
      return didNot("it could not tell");
    throw new Error(`banyan verify ended with ${exitCode}:\n${stdout}\n${stderr}`);
  },
};
