import { defaultWho, worldOf } from "./rollout-session.ts";
import { Progress } from "./progress.ts";
import { runWithRetries } from "./retries.ts";
import { withSession, type CommonArgs, type Session } from "./session.ts";
import { openMoves } from "./wire.ts";
import { watchRollout, type RolloutEvent } from "../rollout/watch-rollout.ts";

export interface RolloutRunArgs extends CommonArgs {
  readonly who: string | undefined;
}

interface Daemon {
  readonly session: Session;
  readonly args: RolloutRunArgs;
  readonly progress: Progress;
}

/** One thing that the daemon does until it is stopped. */
interface DaemonLoop {
  readonly name: string;
  readonly run: (daemon: Daemon, signal: AbortSignal) => Promise<void>;
}

/** Everything that the daemon does; each begins again by itself after what may pass. */
const LOOPS: readonly DaemonLoop[] = [{ name: "watch", run: watch }];

/** Runs all loops until the first signal; one that fails for good ends the others. */
export function runRollout(args: RolloutRunArgs): Promise<void> {
  return withSession(args, async (session) => {
    const { scope } = session;
    const progress = new Progress();
    scope.defer(() => progress.stop());
    const failed = new AbortController();
    const signal = AbortSignal.any([scope.signal, failed.signal]);
    // What is wrong at the start is wrong for good; what fails later is tried again.
    await Promise.all([session.store(), session.source()]);
    progress.line(`rollout run: ${LOOPS.map(({ name }) => name).join(", ")}; Ctrl-C ends it`);
    const running = LOOPS.map(({ run }) =>
      runWithRetries(progress, signal, () => run({ session, args, progress }, signal)).catch(
        (error: unknown) => {
          failed.abort();
          throw error;
        },
      ),
    );
    const ends = await Promise.allSettled(running);
    const end = ends.find((candidate) => candidate.status === "rejected");
    if (end !== undefined) throw end.reason;
  });
}

async function watch({ session, args, progress }: Daemon, signal: AbortSignal): Promise<void> {
  const tell = (event: RolloutEvent): void => {
    if (args.json) process.stdout.write(`${JSON.stringify(event)}\n`);
    else progress.line(eventText(event));
  };
  const opened = await openMoves(session.config);
  try {
    await watchRollout(
      {
        ...opened,
        world: await worldOf(session, opened),
        settings: session.config.rollout,
        who: args.who ?? `rollout run (${defaultWho()})`,
        onEvent: tell,
      },
      signal,
    );
  } finally {
    await opened.close();
  }
}

function eventText({ at, type, what, says, seconds }: RolloutEvent): string {
  const took = seconds === undefined ? "" : ` in ${seconds.toFixed(1)} s`;
  return `${at.slice(0, 19)}Z  ${type}: ${what}${took}: ${says}`;
}
