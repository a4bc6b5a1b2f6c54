import { setTimeout as sleep } from "node:timers/promises";
import type { World } from "./world.ts";
import { MOVE_FAILPOINTS } from "../../src/runtime/failpoint.ts";

export interface MoverOptions {
  readonly world: World;
  /** 0 to below 1. */
  readonly random: () => number;
  /** Whether movers are killed at times, at some step of a move. */
  readonly isKilled: () => boolean;
  /** Asked before each move: whether that was enough. */
  readonly isEnough: (moves: Moves) => Promise<boolean>;
  readonly tell: (line: string) => void;
}

export interface Moves {
  /** By kind and outcome, `promote done` for one. */
  readonly counts: Map<string, number>;
  /** What a move said that is no outcome. */
  readonly problems: string[];
}

interface Standing {
  readonly stage: string;
  readonly share: number;
}

const PAUSE_MS = 300;
const KILLED_SHARE = 0.15;
/** What a mover may meet: another's move, and databases that are away. */
const PASSING =
  /\[(ROLLOUT_BUSY|ROLLOUT_CHANGED|ROLLOUT_RELIEVED|STORE_[A-Z]+|SOURCE_[A-Z]+|REVERSE_[A-Z]+)\]/;

/** Proxies that were killed: an operator knows that they have ended, and says so. */
export class DeadProxies {
  readonly #pids = new Set<number>();

  add(pid: number): void {
    this.#pids.add(pid);
  }

  async instances({ store }: World): Promise<readonly string[]> {
    const { rows } = await store.database.query(
      "SELECT DISTINCT instance, place FROM banyan.proxies",
    );
    return (rows as { instance: string; place: string }[])
      .filter(({ place }) => this.#pids.has(Number(place.split(" ").at(-1))))
      .map(({ instance }) => instance);
  }
}

/** Moves orders on and back until the signal, from wherever they stand to somewhere. */
export async function moveAbout(
  { world, random, isKilled, isEnough, tell }: MoverOptions,
  dead: DeadProxies,
  signal: AbortSignal,
): Promise<Moves> {
  const counts = new Map<string, number>();
  const problems: string[] = [];
  while (!signal.aborted && !(await isEnough({ counts, problems }).catch(() => false))) {
    await step().catch((error: unknown) => tell(`mover: ${String(error)}`));
    await sleep(PAUSE_MS * random(), undefined, { signal }).catch(() => undefined);
  }
  return { counts, problems };

  async function step(): Promise<void> {
    const standing = await standingOf(world);
    const [kind, to] = drawn(standing, random);
    const without = await dead.instances(world);
    const args = [
      ...["rollout", kind, "order", "--json"],
      ...(to === undefined ? [] : ["--to", to]),
      ...without.flatMap((instance) => ["--without-proxy", instance]),
    ];
    const isDoomed = isKilled() && random() < KILLED_SHARE;
    const failpoint = MOVE_FAILPOINTS[Math.floor(random() * MOVE_FAILPOINTS.length)]!;
    const startedMs = performance.now();
    const mover = world.start(args, isDoomed ? { BANYAN_FAILPOINT: failpoint } : {});
    const { exitCode, signal: ended, stdout, stderr } = await mover.ended;
    const seconds = (performance.now() - startedMs) / 1_000;
    const from = `${standing.stage} ${standing.share / 100}%`;
    if (ended === "SIGKILL") return count(kind, `killed at ${failpoint}`, from, to, seconds);
    if (exitCode !== 0 && exitCode !== 1) {
      const code = PASSING.exec(stderr)?.[1];
      if (code === undefined && !stderr.includes("[USAGE]"))
        problems.push(`${kind} to ${to}: ${stderr}`);
      return count(kind, code ?? `exit ${exitCode}`, from, to, seconds);
    }
    if (stdout === "") {
      problems.push(`${kind} to ${to} said nothing, ${exitCode}: ${stderr}`);
      return;
    }
    const told = JSON.parse(stdout) as {
      outcome: string;
      reason?: string;
      gates: { gate: string; state: string; says: string }[];
    };
    const gates = told.gates
      .filter(({ state }) => state !== "pass")
      .map(({ gate, says }) => `${gate}: ${says}`);
    if (told.gates.some(({ gate, state }) => gate === "dual" && state === "fail"))
      problems.push(`dual: ${(await world.banyan("verify", "--dual", "--show-values")).stdout}`);
    count(
      kind,
      told.outcome,
      from,
      to,
      seconds,
      [told.reason, ...gates].filter(Boolean).join("; "),
    );
    // Each promotion wants a verification that called all equal.
    if (gates.some((text) => text.startsWith("parity"))) {
      const { exitCode: verified, stdout: says } = await world.banyan("verify", "--json");
      if (verified === 1) problems.push(`verify: ${says}`);
    }
  }

  function count(
    kind: string,
    outcome: string,
    from: string,
    to: string | undefined,
    seconds: number,
    why = "",
  ): void {
    const name = `${kind} ${outcome}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
    tell(`${kind} ${from} → ${to ?? "next"}: ${outcome} ${seconds.toFixed(1)} s ${why}`);
  }
}

/** Where to, and how: on more often than back. */
function drawn(
  { stage, share }: Standing,
  random: () => number,
): readonly ["promote" | "rollback", string | undefined] {
  const goesOn = random() < 0.6;
  const one = <T>(choices: readonly T[]): T => choices[Math.floor(random() * choices.length)]!;
  switch (stage) {
    case "legacy":
      return ["promote", "shadow"];
    case "shadow":
      return ["promote", one(["1%", "10%", "50%", "50%", "new", "new"])];
    case "canary": {
      const higher = [10, 50].filter((percent) => percent * 100 > share).map((n) => `${n}%`);
      const lower = [1, 10].filter((percent) => percent * 100 < share).map((n) => `${n}%`);
      return goesOn
        ? ["promote", one([...higher, "new"])]
        : ["rollback", one([...lower, "shadow"])];
    }
    default:
      return ["rollback", one(["shadow", "50%", "10%", "1%"])];
  }
}

async function standingOf({ store }: World): Promise<Standing> {
  const { rows } = await store.database.query(
    "SELECT stage, share FROM banyan.rollouts WHERE stream_type = 'order'",
  );
  return (rows as Standing[])[0] ?? { stage: "legacy", share: 0 };
}
