import { hostname, userInfo } from "node:os";
import { openMoves, type OpenedMoves } from "./wire.ts";
import type { Session } from "./session.ts";
import { BanyanError } from "../model/errors.ts";
import { moveWorld } from "../rollout/move-world.ts";
import type { MoveWorld } from "../rollout/run-move.ts";
import type { Standing } from "../rollout/move.ts";
import { UNMOVED } from "../rollout/stage.ts";

/** Moves of the config's migration, over a store that is migrated; closed with the session. */
export async function openRollout({ config, store, scope }: Session): Promise<OpenedMoves> {
  await store();
  const opened = await openMoves(config);
  scope.defer(() => opened.close());
  return opened;
}

/** What moves ask of the source and the store. */
export async function worldOf(
  session: Session,
  opened: OpenedMoves,
): Promise<(salt: string) => MoveWorld> {
  const { config, source, store } = session;
  const options = {
    pipeline: config.name,
    source: await source(),
    store: await store(),
    streams: config.streams,
    waitMsMax: config.rollout.holdSeconds * 1_000,
    samplesMax: 5,
    showValues: false,
  };
  return (salt) => moveWorld(options, opened.marks, salt);
}

/** @throws BanyanError `USAGE` for a stream type that the config does not have */
export function knownType({ config }: Session, type: string): string {
  if (Object.hasOwn(config.streams, type)) return type;
  const hint = `The config has: ${Object.keys(config.streams).join(", ")}`;
  throw new BanyanError("USAGE", `there is no stream type ${type}`, { hint });
}

export async function standingOf({ store }: OpenedMoves, type: string): Promise<Standing> {
  const { stage, share } = (await store.standings()).get(type) ?? UNMOVED;
  return { stage, share };
}

/** Of the operating system: `ann@host`. */
export function defaultWho(): string {
  try {
    return `${userInfo().username}@${hostname()}`;
  } catch {
    // A container may run under a number that has no name.
    return `${process.getuid?.() ?? "somebody"}@${hostname()}`;
  }
}
