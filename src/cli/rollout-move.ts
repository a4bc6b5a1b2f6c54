import { randomUUID } from "node:crypto";
import { note, writeResult } from "./output.ts";
import { defaultWho, knownType, openRollout, standingOf, worldOf } from "./rollout-session.ts";
import { askGates } from "./rollout-gates.ts";
import { gatesText } from "./rollout-text.ts";
import { withSession, type CommonArgs, type Session } from "./session.ts";
import type { OpenedMoves } from "./wire.ts";
import { BanyanError, EXIT } from "../model/errors.ts";
import { GATES, sumUp, type GateAnswer } from "../rollout/gates.ts";
import { REVERSE_GATE, type MoveKind, type Standing } from "../rollout/move.ts";
import type { Move } from "../rollout/rollout-store.ts";
import { runMove } from "../rollout/run-move.ts";
import { describeStanding, shareOf } from "../rollout/standing-text.ts";
import { completionOf, promotionOf, rollbackOf } from "../rollout/target.ts";

export interface MoveArgs extends CommonArgs {
  readonly type: string;
  readonly to: string | undefined;
  readonly force: readonly string[];
  readonly why: string | undefined;
  readonly who: string | undefined;
  readonly word: string | undefined;
  readonly withoutProxy: readonly string[];
  readonly holdSeconds: number | undefined;
}

/** What a command that moves a stream type writes with `--json`. */
export interface MoveDocument {
  readonly type: string;
  readonly kind: MoveKind;
  readonly from: Standing;
  readonly to: Standing;
  /** `refused`: a gate failed; `waiting`: one could not tell yet. Nothing was begun then. */
  readonly outcome: "done" | "undone" | "refused" | "waiting";
  readonly gates: readonly GateAnswer[];
  /** Number of the move; absent when none was begun. */
  readonly move?: string;
  readonly epoch?: number;
  readonly reason?: string;
  /** From its begin to its end. */
  readonly seconds?: number;
}

export function moveCommand(kind: MoveKind): (args: MoveArgs) => Promise<void> {
  return (args) =>
    withSession(args, async (session) => {
      const document = await move(kind, args, session);
      writeResult(args.json, document, () => documentText(document));
      process.exitCode = document.outcome === "done" ? EXIT.ok : EXIT.findings;
    });
}

async function move(kind: MoveKind, args: MoveArgs, session: Session): Promise<MoveDocument> {
  const { config, scope } = session;
  const type = knownType(session, args.type);
  checkForce(kind, args);
  const opened = await openRollout(session);
  const from = await standingOf(opened, type);
  const to = targetOf(kind, args, from, session);
  await refusePaused(kind, type, opened);
  await requireKnownProxies(args, opened);
  if (kind === "complete") requireWord(args, `complete-${type}`, "the way back ends here");
  const { force, withoutProxy } = args;
  const wanted = { type, kind, from, to, force, withoutProxy };
  const gates = await askGates(opened, config.rollout.gates, wanted);
  const shared = { type, kind, from, to, gates };
  const forced = [...args.force];
  const state = sumUp(gates);
  if (state !== "pass") {
    const isLost = kind === "rollback" && args.word === `lose-${type}`;
    if (!isLost) return refusal(shared, state === "fail" ? "refused" : "waiting");
    forced.push(REVERSE_GATE);
  }
  const startedMs = performance.now();
  const begun = await opened.store.begin({
    ...{ type, kind, from, to, forced },
    who: args.who ?? defaultWho(),
    why: args.why ?? "",
    without: args.withoutProxy,
    holdMs: (args.holdSeconds ?? config.rollout.holdSeconds) * 1_000,
    driver: randomUUID(),
  });
  const { salt } = (await opened.store.standings()).get(type)!;
  const world = (await worldOf(session, opened))(salt);
  const onState = (step: string): void => note(`${type}: ${step}`);
  const ended = await runMove({ store: opened.store, world, onState }, begun, scope.signal);
  return documentOf(shared, ended, (performance.now() - startedMs) / 1_000);
}

function targetOf(
  kind: MoveKind,
  { type, to }: MoveArgs,
  from: Standing,
  { config }: Session,
): Standing {
  switch (kind) {
    case "promote": {
      const shares = config.rollout.shares.map((share) => shareOf(`${share}%`)!);
      return promotionOf(type, from, to, shares);
    }
    case "rollback":
      return rollbackOf(type, from, to);
    case "complete":
      return completionOf(type, from);
  }
}

/** @throws BanyanError `USAGE` */
function checkForce(kind: MoveKind, { type, force, why }: MoveArgs): void {
  if (kind === "rollback" && force.length > 0)
    throw new BanyanError("USAGE", "a rollback has no gate that is passed over by name", {
      hint: `What legacy lacks is given up with: --word lose-${type}`,
    });
  const unknown = force.find((gate) => !GATES.some((known) => known === gate));
  if (unknown !== undefined)
    throw new BanyanError("USAGE", `there is no gate ${unknown}`, {
      hint: `Gates are: ${GATES.join(", ")}`,
    });
  if (force.length > 0 && (why ?? "") === "")
    throw new BanyanError("USAGE", "a gate is passed over for a reason", {
      hint: 'Give it: --why "…"; it is kept in the log.',
    });
}

async function refusePaused(kind: MoveKind, type: string, { store }: OpenedMoves): Promise<void> {
  if (kind === "rollback" || (await store.standings()).get(type)?.paused !== true) return;
  throw new BanyanError("USAGE", `${type} is paused`, {
    hint: `Let it go on: banyan rollout resume ${type}`,
  });
}

/** One that is misspelt would be waited for all the same, with writes held back. */
async function requireKnownProxies(
  { type, withoutProxy }: MoveArgs,
  { store }: OpenedMoves,
): Promise<void> {
  if (withoutProxy.length === 0) return;
  const known = await store.proxies(type);
  const unknown = withoutProxy.find((name) => !known.some(({ instance }) => instance === name));
  if (unknown === undefined) return;
  const names = known.map(({ place, instance }) => `${instance} (${place})`);
  throw new BanyanError("USAGE", `--without-proxy: there is no proxy ${unknown}`, {
    hint: names.length === 0 ? "No proxy was seen." : `Proxies are: ${names.join(", ")}`,
  });
}

function requireWord({ word }: MoveArgs, wanted: string, says: string): void {
  if (word === wanted) return;
  throw new BanyanError("USAGE", `${says}; it takes a word`, { hint: `Add: --word ${wanted}` });
}

function refusal(
  shared: Pick<MoveDocument, "type" | "kind" | "from" | "to" | "gates">,
  outcome: "refused" | "waiting",
): MoveDocument {
  const isBack = shared.kind === "rollback";
  const reason = isBack
    ? `what the new service decided might be lost; when that is meant: --word lose-${shared.type}`
    : "nothing was begun";
  return { ...shared, outcome, reason };
}

function documentOf(
  shared: Pick<MoveDocument, "type" | "kind" | "from" | "to" | "gates">,
  { id, epoch, outcome, reason }: Move,
  seconds: number,
): MoveDocument {
  const told = { ...shared, outcome: outcome!, move: id, epoch, seconds };
  return reason === undefined ? told : { ...told, reason };
}

function documentText(document: MoveDocument): string {
  const { type, kind, from, to, outcome, gates, reason, seconds } = document;
  const lines = [...gatesText(gates)];
  const what = `${type}: ${kind} from ${describeStanding(from)} to ${describeStanding(to)}`;
  switch (outcome) {
    case "done":
      lines.push(`✓ ${what} is done${seconds === undefined ? "" : ` in ${seconds.toFixed(1)} s`}`);
      break;
    case "undone":
      lines.push(`✗ ${what} was undone`);
      break;
    case "refused":
      lines.push(`✗ ${what} is refused`);
      break;
    case "waiting":
      lines.push(`? ${what} has to wait`);
  }
  if (reason !== undefined) lines.push(`  ${reason}`);
  return lines.join("\n");
}
