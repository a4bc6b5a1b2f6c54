import { defaultWho, worldOf } from "./rollout-session.ts";
import { Progress } from "./progress.ts";
import { plural } from "./output.ts";
import { runWithRetries, tellRetries } from "./retries.ts";
import { withSession, type CommonArgs, type Session } from "./session.ts";
import { openLegacyIds, openLegacyWriter, openMoves } from "./wire.ts";
import { runIdReservation } from "../reverse/run-id-reservation.ts";
import { runReverse } from "../reverse/run-reverse.ts";
import { watchRollout, type RolloutEvent } from "../rollout/watch-rollout.ts";
import { runJudge } from "../verify/dual/run-judge.ts";

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
const LOOPS: readonly DaemonLoop[] = [
  { name: "watch", run: watch },
  { name: "reverse sync", run: reverse },
  { name: "ids", run: reserveIds },
  { name: "dual writes", run: judge },
];

/** Runs all loops until the first signal; one that fails for good ends the others. */
export function runRollout(args: RolloutRunArgs): Promise<void> {
  const run = async (session: Session): Promise<void> => {
    const { scope } = session;
    const progress = new Progress();
    scope.defer(() => progress.stop());
    const failed = new AbortController();
    const signal = AbortSignal.any([scope.signal, failed.signal]);
    let isOpen = false;
    await runWithRetries(progress, signal, async () => {
      await Promise.all([session.store(), session.source()]);
      isOpen = true;
    });
    // A signal came first.
    if (!isOpen) return;
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
  };
  return withSession(args, run, { withReverse: true });
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

/** Native events back into the legacy rows. */
async function reverse({ session, progress }: Daemon, signal: AbortSignal): Promise<void> {
  const { config, store } = session;
  await runReverse(
    {
      pipeline: config.name,
      store: await store(),
      openLegacy: await openLegacyWriter(config),
      streams: config.streams,
      onApplied: ({ conflicts }) => {
        if (conflicts > 0)
          progress.line(`reverse sync: ${plural(conflicts, "conflict")}; see banyan status`);
      },
      onWait: (streams, reason) =>
        progress.line(`reverse sync: ${plural(streams, "aggregate")} wait: ${reason}`),
      onRetry: tellRetries(progress),
    },
    signal,
  );
}

/** Ids of the legacy sequences, for creations of the new service. */
async function reserveIds({ session, progress }: Daemon, signal: AbortSignal): Promise<void> {
  const { config, store } = session;
  const openIds = await openLegacyIds(config);
  const onRetry = tellRetries(progress);
  await runIdReservation({ pipeline: config.name, store: await store(), openIds, onRetry }, signal);
}

/** Verdicts on what the new service proposed. */
async function judge({ session, progress }: Daemon, signal: AbortSignal): Promise<void> {
  const { config, store, source } = session;
  const opened = await source();
  await runJudge(
    {
      pipeline: config.name,
      store: await store(),
      streams: config.streams,
      settings: config.dual,
      fence: () => opened.fence(),
      onRetry: tellRetries(progress),
    },
    signal,
  );
}

function eventText({ at, type, what, says, seconds }: RolloutEvent): string {
  const took = seconds === undefined ? "" : ` in ${seconds.toFixed(1)} s`;
  return `${at.slice(0, 19)}Z  ${type}: ${what}${took}: ${says}`;
}
