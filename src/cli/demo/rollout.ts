import { setTimeout as sleep } from "node:timers/promises";
import {
  auditLedger,
  keepLedger,
  type LedgerReport,
  type OrderDocument,
} from "../../../examples/shop-postgres/ledger.ts";
import { startNewShop, type NewShopServer } from "../../../examples/shop-postgres/new-shop.ts";
import { count } from "../output.ts";
import type { Progress } from "../progress.ts";
import type { MoveDocument } from "../rollout-move.ts";
import { gatesText } from "../rollout-text.ts";
import { freePort, openMoves } from "../wire.ts";
import { startCli, type CliResult } from "./cli-process.ts";
import { loadConfig } from "../../config/load-config.ts";
import { BanyanError } from "../../model/errors.ts";
import type { Scope } from "../../runtime/shutdown.ts";
import type { DualReport } from "../../verify/dual/dual-report.ts";

/** What became of the move, as `banyan demo --json` prints it. */
export interface RolloutDocument {
  readonly stagesReached: readonly string[];
  /** Verdicts on dual writes of the service without a bug, */
  readonly dual: { readonly pass: number; readonly fail: number; readonly inconclusive: number };
  /** and of the one with a bug. */
  readonly caught: { readonly pass: number; readonly fail: number; readonly inconclusive: number };
  /** Reads that were compared while they went through the proxy. */
  readonly shadow: {
    readonly compared: number;
    readonly different: number;
    readonly dropped: number;
  };
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

export interface RolloutDemo {
  readonly scope: Scope;
  readonly seed: number;
  readonly isShort: boolean;
  readonly progress: Progress;
  readonly configPath: string;
  readonly eventsUrl: string;
  /** Of the legacy shop's HTTP application. */
  readonly legacyHttp: string;
  readonly step: (text: string) => void;
  readonly tell: (text: string) => void;
}

const CUSTOMERS = 16;
const REQUESTS_PER_SECOND = 160;
/** Samples of everything that the gates of the demo ask for. */
const SAMPLES = "100";
/** Requests of one percent of that are few. */
const MOVED_SAMPLES = "5";
const SHARES = ["1%", "10%", "50%", "new"] as const;
const SHOWN = ["--show-values", "--samples", "1"] as const;
const WHY = ["--why", "the demo"] as const;
const GATE_MS_MAX = 60_000;
const AGAIN_MS = 1_000;
/** At each share, so that there is something to see. */
const REST_MS = 10_000;
const REST_SHORT_MS = 1_500;
const ROLLED_BACK_MS_MAX = 20_000;
const POLL_MS = 100;
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
  await stage.startWatch();
  tell(
    `      clients now ask ${stage.proxyHttp}; ${CUSTOMERS} of them keep the receipt of every write`,
  );
  const ledger = stage.startLedger();
  const reached: string[] = ["legacy"];
  const advance = async (to: string, ...more: string[]): Promise<MoveDocument | undefined> => {
    const moved = await stage.promote(to, more);
    if (moved?.outcome === "done") reached.push(to);
    return moved;
  };

  step(
    "$ banyan rollout promote order --to shadow       legacy answers; new is asked too, and judged",
  );
  if ((await advance("shadow")) === undefined) return undefined;
  for (const share of SHARES) {
    step(`$ banyan rollout promote order --to ${share}`);
    if ((await advance(share)) === undefined) return undefined;
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
  const refused = await stage.promote("10%", []);
  if (refused === undefined) return undefined;
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

type Counts = RolloutDocument["dual"];

interface Running {
  stop(): Promise<void>;
}

/** The processes of the second half, and the commands that a user would type. */
class Stage {
  readonly #demo: RolloutDemo;
  readonly #ports: { readonly proxy: number; readonly admin: number; readonly service: number };
  #service: NewShopServer | undefined;
  #proxy: Running | undefined;
  #watch: Running | undefined;

  static async open(demo: RolloutDemo): Promise<Stage> {
    const [proxy, admin, service] = [await freePort(), await freePort(), await freePort()];
    process.env["SHOP_LEGACY_HTTP"] = demo.legacyHttp;
    process.env["SHOP_NEW_HTTP"] = `http://127.0.0.1:${service}`;
    process.env["SHOP_PROXY_LISTEN"] = `127.0.0.1:${proxy}`;
    process.env["SHOP_PROXY_ADMIN_LISTEN"] = `127.0.0.1:${admin}`;
    process.env["SHOP_GATE_SAMPLES"] = SAMPLES;
    process.env["SHOP_GATE_MOVED_SAMPLES"] = MOVED_SAMPLES;
    return new Stage(demo, { proxy, admin, service });
  }

  private constructor(demo: RolloutDemo, ports: { proxy: number; admin: number; service: number }) {
    this.#demo = demo;
    this.#ports = ports;
    demo.scope.defer(() => this.close());
  }

  get proxyHttp(): string {
    return `http://127.0.0.1:${this.#ports.proxy}`;
  }

  get serviceHttp(): string {
    return `http://127.0.0.1:${this.#ports.service}`;
  }

  /** Starts the new service, in place of the one that runs. */
  async startService(bugs: { readonly rounding?: boolean } = {}): Promise<void> {
    await this.#service?.close();
    this.#service = await startNewShop({
      storeUrl: this.#demo.eventsUrl,
      port: this.#ports.service,
      bugs,
    });
  }

  async startProxy(): Promise<void> {
    this.#proxy = this.#daemon("proxy");
    await this.#until("banyan proxy", async () => {
      const health = await fetch(`http://127.0.0.1:${this.#ports.admin}/health`).catch(
        () => undefined,
      );
      return health?.ok;
    });
  }

  async startWatch(): Promise<void> {
    this.#watch = this.#daemon("rollout", "run");
    await Promise.resolve();
  }

  startLedger(): { stop(): Promise<LedgerReport> } {
    const { scope, seed, tell } = this.#demo;
    const end = new AbortController();
    let told = 0;
    const keeping = keepLedger({
      shopUrl: this.proxyHttp,
      seed,
      customers: CUSTOMERS,
      requestsPerSecond: REQUESTS_PER_SECOND,
      signal: AbortSignal.any([end.signal, scope.signal]),
      onProblem: (problem) => {
        if (told++ < 5) tell(`      ! ${problem}`);
      },
    });
    keeping.catch(() => undefined);
    const stop = async (): Promise<LedgerReport> => {
      end.abort();
      return await keeping;
    };
    scope.defer(async () => void (await stop().catch(() => undefined)));
    return { stop };
  }

  /**
   * Promotes as soon as the gates let it.
   *
   * @returns undefined when a signal came first; not done only when a gate failed
   */
  async promote(to: string, more: readonly string[]): Promise<MoveDocument | undefined> {
    const { tell, progress, scope } = this.#demo;
    const deadline = Date.now() + GATE_MS_MAX;
    while (!scope.signal.aborted) {
      await this.text("verify");
      const moved = await this.#json<MoveDocument>(
        ["rollout", "promote", "order", "--to", to, ...(more.length > 0 ? more : WHY)],
        "promote",
      );
      if (scope.signal.aborted || moved === undefined) return undefined;
      const { outcome, gates, reason, seconds: took = 0 } = moved;
      if (outcome === "done" || outcome === "refused") {
        progress.stop();
        tell(indent(gatesText(gates).join("\n")));
        tell(
          outcome === "done"
            ? `      ✓ done in ${took.toFixed(1)} s`
            : "      ✗ refused: nothing was begun",
        );
        return moved;
      }
      const waits = gates.filter(({ state }) => state === "inconclusive").map(({ says }) => says);
      progress.update(outcome === "waiting" ? waits.join("; ") : `undone: ${reason ?? ""}`);
      if (Date.now() > deadline)
        throw failed(`orders did not get to ${to}: ${reason ?? JSON.stringify(gates)}`);
      await this.#sleep(AGAIN_MS);
    }
    return undefined;
  }

  async rollback(): Promise<void> {
    const { tell, scope } = this.#demo;
    const deadline = Date.now() + GATE_MS_MAX;
    while (!scope.signal.aborted) {
      const moved = await this.#json<MoveDocument>(
        ["rollout", "rollback", "order", ...WHY],
        "rollback",
      );
      if (moved === undefined) return;
      if (moved.outcome === "done")
        return tell(`      ✓ done in ${(moved.seconds ?? 0).toFixed(1)} s`);
      if (Date.now() > deadline)
        throw failed(`orders did not come back: ${moved.reason ?? JSON.stringify(moved.gates)}`);
      await this.#sleep(AGAIN_MS);
    }
  }

  /** Seconds until orders stand at shadow again; undefined when a signal came first. */
  async untilRolledBack(): Promise<number | undefined> {
    const opened = await openMoves(await loadConfig(this.#demo.configPath));
    const startedMs = performance.now();
    try {
      while (!this.#demo.scope.signal.aborted) {
        const order = (await opened.store.standings()).get("order");
        if (order?.stage === "shadow" && order.hold === undefined)
          return (performance.now() - startedMs) / 1_000;
        if (performance.now() - startedMs > ROLLED_BACK_MS_MAX)
          throw failed("nobody has taken the bug back");
        await this.#sleep(POLL_MS);
      }
      return undefined;
    } finally {
      await opened.close();
    }
  }

  async dual(sinceMs = 0): Promise<Counts> {
    const since = sinceMs === 0 ? "1h" : secondsSince(sinceMs);
    const report = await this.#json<DualReport>(
      ["verify", "--dual", "--since", since, "--samples", "0"],
      "verify --dual",
    );
    const { pass = 0, fail = 0, inconclusive = 0 } = report ?? {};
    return { pass, fail, inconclusive };
  }

  async shadow(): Promise<RolloutDocument["shadow"]> {
    const response = await fetch(`http://127.0.0.1:${this.#ports.admin}/state`);
    const { shadow } = (await response.json()) as {
      shadow: { reads: { compared: number; different: number; dropped: number }[] };
    };
    const sum = (of: "compared" | "different" | "dropped"): number =>
      shadow.reads.reduce((total, read) => total + read[of], 0);
    return { compared: sum("compared"), different: sum("different"), dropped: sum("dropped") };
  }

  /** Waits until what was acknowledged last is at both sides, then counts the receipts that do not hold. */
  async audit(report: LedgerReport, sides: readonly string[]): Promise<number> {
    await this.text("verify");
    const lost = new Set<string>();
    for (const side of sides) {
      const read = async (id: string): Promise<OrderDocument | undefined> => {
        const response = await fetch(`${side}/orders/${id}`);
        return response.status === 404 ? undefined : ((await response.json()) as OrderDocument);
      };
      for (const problem of await auditLedger(report.receipts, read)) lost.add(problem);
    }
    for (const problem of [...lost].slice(0, 5)) this.#demo.tell(`      ! ${problem}`);
    return lost.size;
  }

  async rest(): Promise<void> {
    await this.#sleep(this.#demo.isShort ? REST_SHORT_MS : REST_MS);
  }

  /** What a command prints for people. */
  async text(...args: string[]): Promise<string> {
    return (await this.#run(args)).stdout;
  }

  async close(): Promise<void> {
    await Promise.all([this.#watch?.stop(), this.#proxy?.stop()]);
    await this.#service?.close();
    this.#service = undefined;
  }

  async #json<T>(args: readonly string[], what: string): Promise<T | undefined> {
    const { stdout, exitCode } = await this.#run([...args, "--json"]);
    if (this.#demo.scope.signal.aborted) return undefined;
    try {
      return JSON.parse(stdout) as T;
    } catch {
      throw failed(`banyan ${what} ended with ${exitCode} and without a document`);
    }
  }

  async #run(args: readonly string[]): Promise<CliResult> {
    const { configPath, scope } = this.#demo;
    const { child, ended } = startCli([...args, "--config", configPath]);
    const interrupt = (): void => void child.kill("SIGINT");
    scope.signal.addEventListener("abort", interrupt, { once: true });
    try {
      return await ended;
    } finally {
      scope.signal.removeEventListener("abort", interrupt);
    }
  }

  #daemon(...args: string[]): Running {
    let last = "";
    const { child, ended } = startCli(
      [...args, "--config", this.#demo.configPath],
      (line) => (last = line),
    );
    let isStopped = false;
    void ended.then(({ exitCode }) => {
      if (!isStopped)
        this.#demo.tell(`      ! banyan ${args.join(" ")} ended with ${exitCode}: ${last}`);
    });
    return {
      async stop() {
        isStopped = true;
        child.kill("SIGINT");
        await ended;
      },
    };
  }

  async #until(what: string, probe: () => Promise<boolean | undefined>): Promise<void> {
    const deadline = Date.now() + GATE_MS_MAX;
    while (!this.#demo.scope.signal.aborted && (await probe()) !== true) {
      if (Date.now() > deadline) throw failed(`${what} did not come up`);
      await this.#sleep(POLL_MS);
    }
  }

  async #sleep(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: this.#demo.scope.signal }).catch(() => undefined);
  }
}

function failed(what: string): BanyanError {
  return new BanyanError("DEMO_FAILED", what, {
    hint: "The machine may be too busy: run banyan demo again.",
  });
}

function secondsSince(ms: number): string {
  return `${Math.max(1, Math.floor((Date.now() - ms) / 1_000))}s`;
}

function firstLines(text: string): string {
  const lines = text.trimEnd().split("\n");
  return lines.length <= SAMPLE_LINES_MAX
    ? lines.join("\n")
    : [...lines.slice(0, SAMPLE_LINES_MAX), "…"].join("\n");
}

function indent(text: string): string {
  return text.trimEnd().replaceAll(/^(?=.)/gm, "      ");
}
