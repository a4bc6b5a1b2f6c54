import type { Argv, CommandModule } from "yargs";
import { numberOption } from "../number-option.ts";
import { note, writeResult } from "../output.ts";
import { moveCommand, type MoveArgs } from "../rollout-move.ts";
import { planOf, planText } from "../rollout-plan.ts";
import { runRollout, type RolloutRunArgs } from "../rollout-run.ts";
import { defaultWho, knownType, openRollout, worldOf } from "../rollout-session.ts";
import { logText, moveText, statusOf, statusText } from "../rollout-text.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { BanyanError } from "../../model/errors.ts";
import type { Move } from "../../rollout/rollout-store.ts";
import { resumeMoves } from "../../rollout/watch-rollout.ts";

interface TypeArgs extends CommonArgs {
  readonly type: string | undefined;
}

interface PauseArgs extends CommonArgs {
  readonly type: string;
  readonly who: string | undefined;
  readonly why: string | undefined;
}

interface LogArgs extends TypeArgs {
  readonly limit: number;
}

const MOVES_SHOWN_MAX = 100;

const TO_NEW = "shadow, a share as 10%, or new; default the next";
const TO_LEGACY = "a lower share, shadow or legacy; default shadow";

const ACTIONS = [
  action<TypeArgs>(
    "plan [type]",
    "The steps in their order, and why the next may or may not run now",
    typeOption,
    plan,
  ),
  action<CommonArgs>(
    "status",
    "Where every stream type stands, what is held and what is under way",
    (y) => y,
    status,
  ),
  action<MoveArgs>(
    "promote <type>",
    "Move a stream type on, if its gates are passed",
    (y) => toOption(moveOptions(y), TO_NEW),
    moveCommand("promote"),
  ),
  action<MoveArgs>(
    "rollback <type>",
    "Move a stream type back; nothing is lost, unless the word says so",
    (y) => toOption(moveOptions(y), TO_LEGACY),
    moveCommand("rollback"),
  ),
  action<MoveArgs>(
    "complete <type>",
    "End reverse sync, and with it the way back",
    moveOptions,
    moveCommand("complete"),
  ),
  action<PauseArgs>(
    "pause <type>",
    "Let promotions and automatic rollbacks of a stream type rest",
    pauseOptions,
    (args) => pause(args, true),
  ),
  action<PauseArgs>(
    "resume <type>",
    "Let it go on, and take up a move whose process has ended",
    pauseOptions,
    (args) => pause(args, false),
  ),
  action<LogArgs>("log [type]", "Who decided what, and why; newest first", logOptions, log),
  action<RolloutRunArgs>(
    "run",
    "Watch what has moved until stopped: automatic rollback, moves that a crash left",
    whoOption,
    runRollout,
  ),
];

/** How each is written: `promote <type>`. */
export const ROLLOUT_COMMANDS: readonly string[] = ACTIONS.map(({ command }) => String(command));

export const ROLLOUT_ACTIONS: readonly string[] = ROLLOUT_COMMANDS.map(
  (command) => command.split(" ")[0]!,
);

const WHAT = `say what to do: ${ROLLOUT_ACTIONS.join(", ")}`;

export const rolloutCommand: CommandModule<object, CommonArgs> = {
  command: "rollout",
  describe: "Move stream types to the new service a share at a time, and back",
  builder: (y) => {
    for (const one of ACTIONS) y.command(one);
    return y.demandCommand(1, WHAT) as never;
  },
  handler: () => undefined,
};

function action<Args>(
  command: string,
  describe: string,
  builder: (y: Argv) => Argv,
  handler: (args: Args) => Promise<void>,
): CommandModule {
  return { command, describe, builder: builder as never, handler: handler as never };
}

function typeOption(y: Argv): Argv {
  return y.positional("type", { type: "string", describe: "Stream type, e.g. order" });
}

function whoOption(y: Argv): Argv {
  return y.option("who", {
    type: "string",
    requiresArg: true,
    describe: "Who decides, for the log; default the user of the system",
  });
}

function whyOption(y: Argv): Argv {
  return y.option("why", { type: "string", requiresArg: true, describe: "Why, for the log" });
}

function pauseOptions(y: Argv): Argv {
  return whyOption(whoOption(typeOption(y)));
}

function logOptions(y: Argv): Argv {
  return typeOption(y).option("limit", {
    ...numberOption("limit", { min: 1, max: 10_000, describe: "Entries to show" }),
    default: 50,
  });
}

function toOption(y: Argv, to: string): Argv {
  return y.option("to", { type: "string", requiresArg: true, describe: `Where to: ${to}` });
}

function moveOptions(y: Argv): Argv {
  return pauseOptions(y)
    .option("force", {
      type: "string",
      array: true,
      nargs: 1,
      default: [],
      describe: "Pass over this gate by name; needs --why",
    })
    .option("word", {
      type: "string",
      requiresArg: true,
      describe: "What must be typed where there is no way back",
    })
    .option("without-proxy", {
      type: "string",
      array: true,
      nargs: 1,
      default: [],
      describe: "Do not wait for this instance of a proxy, which has ended",
    })
    .option("hold-seconds", {
      ...numberOption("hold-seconds", {
        min: 1,
        max: 60,
        describe: "Writes are held back so long at most; default as configured",
      }),
    });
}

function plan(args: TypeArgs): Promise<void> {
  return withSession(args, async (session) => {
    const opened = await openRollout(session);
    const all = Object.keys(session.config.streams);
    const types = args.type === undefined ? all : [knownType(session, args.type)];
    const plans = await planOf(session, opened, types);
    writeResult(args.json, { plans }, () => planText(plans));
  });
}

function status(args: CommonArgs): Promise<void> {
  return withSession(args, async (session) => {
    const { store } = await openRollout(session);
    const standings = await store.standings();
    const types = [...new Set([...Object.keys(session.config.streams), ...standings.keys()])];
    const told = await Promise.all(
      types.map(async (type) => statusOf(type, standings.get(type), await store.proxies(type))),
    );
    const moves = await store.moves(MOVES_SHOWN_MAX);
    const underWay = moves.filter(({ outcome }) => outcome === undefined);
    writeResult(args.json, { types: told, underWay }, () => statusText(told, moves));
  });
}

function pause(args: PauseArgs, paused: boolean): Promise<void> {
  return withSession(args, async (session) => {
    const type = knownType(session, args.type);
    const opened = await openRollout(session);
    const { store } = opened;
    const standing = (await store.standings()).get(type);
    const ended = paused ? [] : await takeUp();
    if (!paused && ended.length === 0) noteUnderWay(await store.moves(MOVES_SHOWN_MAX), type);
    const isChange = standing !== undefined && standing.paused !== paused;
    if (standing === undefined && paused)
      throw new BanyanError("USAGE", `${type} has not begun to move`, {
        hint: "See: banyan rollout plan",
      });
    if (isChange && standing.stage === "complete")
      throw new BanyanError("USAGE", `${type} is complete, and moves no more`, {
        hint: "See: banyan rollout status",
      });
    if (isChange) await store.pause(type, paused, args.who ?? defaultWho(), args.why ?? "");
    writeResult(args.json, { type, paused, changed: isChange, resumed: ended }, () =>
      [
        ...ended.map(moveText),
        isChange
          ? `${type} is ${paused ? "paused" : "no longer paused"}`
          : `${type} was ${paused ? "paused" : "not paused"} already`,
      ].join("\n"),
    );

    async function takeUp() {
      const world = await worldOf(session, opened);
      const onEvent = ({ says }: { readonly says: string }): void => note(says);
      return await resumeMoves({ store, world, onEvent }, session.scope.signal, type);
    }
  });
}

/** A move is not taken from a process that may still be at it. */
function noteUnderWay(moves: readonly Move[], type: string): void {
  const move = moves.find((one) => one.type === type && one.outcome === undefined);
  if (move === undefined) return;
  note(
    `a ${move.kind} that ${move.who} began is under way (${move.step}), and its process was there a moment ago; ` +
      "if it has ended, run this again in 5 seconds",
  );
}

function log(args: LogArgs): Promise<void> {
  return withSession(args, async (session) => {
    const { store } = await openRollout(session);
    const type = args.type === undefined ? undefined : knownType(session, args.type);
    const entries = await store.log(type, args.limit);
    writeResult(args.json, { entries }, () => logText(entries));
  });
}
