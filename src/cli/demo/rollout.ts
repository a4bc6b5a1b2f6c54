import { count } from "../output.ts";
import { indent } from "./cli-process.ts";
import {
  CUSTOMERS,
  failed,
  secondsSince,
  Stage,
  type DualCounts,
  type RolloutDemo,
  type ShadowReadCounts,
} from "./rollout-stage.ts";

/** What became of the move, as `banyan demo --json` prints it. */
export interface RolloutDocument {
  readonly stagesReached: readonly string[];
  /** Verdicts on dual writes of the service without a bug, */
  readonly dual: DualCounts;
  /** and of the one with a bug. */
  readonly caught: DualCounts;
  /** Reads that were compared while they went through the proxy. */
  readonly shadow: ShadowReadCounts;
  /** From the end of the forced promotion to legacy's authority over everything. */
  readonly rolledBackInSeconds: number;
  /** As the clients count them. */
  readonly requests: number;
  readonly acknowledgedWrites: number;
  readonly clientErrors: number;
  /** Acknowledged writes that one of the two sides does not have in the end. */
  readonly lostWrites: number;
  readonly staleReads: number;
  /** The slowest answer that a client got, holds included. */
  readonly slowestMs: number;
}

const SHARES = ["1%", "10%", "50%", "new"] as const;
const SHOWN = ["--show-values", "--samples", "1"] as const;
const SAMPLE_LINES_MAX = 45;

/**
 * Orders move to the new service under live traffic, a share at a time; then once more with a bug in the
 * service, which is caught in shadow, and when forced past its gate is taken back by itself.
 *
 * @returns undefined when a signal ended it before its end
 */
export async function demoRollout(demo: RolloutDemo): Promise<RolloutDocument | undefined> {
  const { scope, step, tell, legacyHttp } = demo;
  const { signal } = scope;
  const stage = await Stage.open(demo);
  step("The new service: orders as events, the same HTTP API; and a proxy in front of both");
  await stage.startService();
  await stage.startProxy();
  stage.startWatch();
  tell(
    `      clients now ask ${stage.proxyHttp}; ${CUSTOMERS} of them keep the receipt of every write`,
  );
  const ledger = stage.startLedger();
  const reached: string[] = ["legacy"];
  const advance = async (to: string): Promise<boolean> => {
    const moved = await stage.promote(to, []);
    if (moved === undefined) return false;
    if (moved.outcome !== "done") throw failed(`orders did not get to ${to}: a gate refused it`);
    reached.push(to);
    return true;
  };

  step(
    "$ banyan rollout promote order --to shadow       legacy answers; new is asked too, and judged",
  );
  if (!(await advance("shadow"))) return undefined;
  for (const share of SHARES) {
    step(`$ banyan rollout promote order --to ${share}`);
    if (!(await advance(share))) return undefined;
    await stage.rest();
  }
  const dual = await stage.dual();
  const shadow = await stage.shadow();
  if (signal.aborted) return undefined;

  step(
    "$ banyan rollout rollback order                  all the way back; reverse sync kept legacy's rows in step",
  );
  await stage.rollback();
  step("The new service gets a bug: it rounds totals down");
  await stage.startService({ rounding: true });
  const sinceMs = Date.now();
  await stage.untilCaught(sinceMs);
  const refused = await stage.promote("10%", []);
  if (refused === undefined) return undefined;
  if (refused.outcome !== "refused") throw failed("the bug was promoted");
  step(
    "$ banyan verify --dual                           what legacy did, and what the service would have done",
  );
  tell(
    indent(
      firstLines(await stage.text("verify", "--dual", ...SHOWN, "--since", secondsSince(sinceMs))),
    ),
  );
  const caught = await stage.dual(sinceMs);

  step("$ banyan rollout promote order --to 10% --force dual       somebody is in a hurry");
  const forced = await stage.promote("10%", ["--force", "dual", "--why", "somebody is in a hurry"]);
  if (forced === undefined) return undefined;
  const rolledBackInSeconds = await stage.untilRolledBack();
  if (rolledBackInSeconds === undefined) return undefined;
  tell(
    `      ✓ banyan rollout run has taken it back by itself, ${rolledBackInSeconds.toFixed(1)} s after the promotion`,
  );
  tell(indent(firstLines(await stage.text("rollout", "log", "order", "--limit", "4"))));

  step("Every receipt of the clients, against legacy and against the new service");
  await stage.startService();
  const report = await ledger.stop();
  const lostWrites = await stage.audit(report, [legacyHttp, stage.serviceHttp]);
  if (signal.aborted) return undefined;
  const { requests, acknowledged, errors, stale, slowestMs } = report;
  tell(
    `      ${count(requests)} requests, ${count(acknowledged)} acknowledged writes: ${count(errors)} failed, ${count(lostWrites)} lost; slowest answer ${count(Math.round(slowestMs))} ms`,
  );
  await stage.close();
  return {
    stagesReached: reached,
    dual,
    caught,
    shadow,
    rolledBackInSeconds,
    requests,
    acknowledgedWrites: acknowledged,
    clientErrors: errors,
    lostWrites,
    staleReads: stale,
    slowestMs: Math.round(slowestMs),
  };
}

function firstLines(text: string): string {
  const lines = text.trimEnd().split("\n");
  return lines.length <= SAMPLE_LINES_MAX
    ? lines.join("\n")
    : [...lines.slice(0, SAMPLE_LINES_MAX), "…"].join("\n");
}
