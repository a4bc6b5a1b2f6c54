import {
  auditLedger,
  keepLedger,
  type LedgerReport,
  type OrderDocument,
} from "../../../examples/shop-postgres/ledger.ts";
import { startNewShop, type NewShopServer } from "../../../examples/shop-postgres/new-shop.ts";
import type { Progress } from "../progress.ts";
import type { MoveDocument } from "../rollout-move.ts";
import { gatesText } from "../rollout-text.ts";
import { freePorts, openMoves } from "../wire.ts";
import { indent, runCli, startCli } from "./cli-process.ts";
import { loadConfig } from "../../config/load-config.ts";
import { BanyanError } from "../../model/errors.ts";
import { pause } from "../../runtime/pause.ts";
import type { Scope } from "../../runtime/shutdown.ts";
import type { DualReport } from "../../verify/dual/dual-report.ts";

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

export const CUSTOMERS = 16;
const REQUESTS_PER_SECOND = 160;
/** Samples of everything that the gates of the demo ask for. */
const SAMPLES = "100";
/** Requests of one percent of that are few. */
const MOVED_SAMPLES = "5";
const WHY = ["--why", "the demo"] as const;
const GATE_MS_MAX = 60_000;
const AGAIN_MS = 1_000;
/** At each share, so that there is something to see. */
const REST_MS = 10_000;
const REST_SHORT_MS = 1_500;
const ROLLED_BACK_MS_MAX = 20_000;
const POLL_MS = 100;

export interface DualCounts {
  readonly pass: number;
  readonly fail: number;
  readonly inconclusive: number;
}

export interface ShadowReadCounts {
  readonly compared: number;
  readonly different: number;
  readonly dropped: number;
}

interface Running {
  stop(): Promise<void>;
}

/** The processes of the second half, and the commands that a user would type. */
export class Stage {
  readonly #demo: RolloutDemo;
  readonly #ports: { readonly proxy: number; readonly admin: number; readonly service: number };
  #service: NewShopServer | undefined;
  #proxy: Running | undefined;
  #watch: Running | undefined;

  static async open(demo: RolloutDemo): Promise<Stage> {
    const [proxy, admin, service] = (await freePorts(3)) as [number, number, number];
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

  get #config(): readonly string[] {
    return ["--config", this.#demo.configPath];
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

  startWatch(): void {
    this.#watch = this.#daemon("rollout", "run");
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
      await this.#wait(AGAIN_MS);
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
      await this.#wait(AGAIN_MS);
    }
  }

  /** Waits until the new service would have written something else than legacy did. */
  async untilCaught(sinceMs: number): Promise<void> {
    await this.#until("a failed dual write", async () => (await this.dual(sinceMs)).fail > 0);
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
        await this.#wait(POLL_MS);
      }
      return undefined;
    } finally {
      await opened.close();
    }
  }

  async dual(sinceMs = 0): Promise<DualCounts> {
    const since = sinceMs === 0 ? "1h" : secondsSince(sinceMs);
    const report = await this.#json<DualReport>(
      ["verify", "--dual", "--since", since, "--samples", "0"],
      "verify --dual",
    );
    const { pass = 0, fail = 0, inconclusive = 0 } = report ?? {};
    return { pass, fail, inconclusive };
  }

  async shadow(): Promise<ShadowReadCounts> {
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
    await this.#wait(this.#demo.isShort ? REST_SHORT_MS : REST_MS);
  }

  /** What a command prints for people. */
  async text(...args: string[]): Promise<string> {
    return (await runCli(this.#demo.scope, [...args, ...this.#config])).stdout;
  }

  async close(): Promise<void> {
    await Promise.all([this.#watch?.stop(), this.#proxy?.stop()]);
    await this.#service?.close();
    this.#service = undefined;
  }

  async #json<T>(args: readonly string[], what: string): Promise<T | undefined> {
    const { stdout, exitCode } = await runCli(this.#demo.scope, [
      ...args,
      "--json",
      ...this.#config,
    ]);
    if (this.#demo.scope.signal.aborted) return undefined;
    try {
      return JSON.parse(stdout) as T;
    } catch {
      throw failed(`banyan ${what} ended with ${exitCode} and without a document`);
    }
  }

  #daemon(...args: string[]): Running {
    let last = "";
    const { child, ended } = startCli([...args, ...this.#config], (line) => (last = line));
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
      if (Date.now() > deadline) throw failed(`${what} was waited for in vain`);
      await this.#wait(POLL_MS);
    }
  }

  async #wait(ms: number): Promise<void> {
    await pause(ms, this.#demo.scope.signal);
  }
}

export function failed(what: string): BanyanError {
  return new BanyanError("DEMO_FAILED", what, {
    hint: "The machine may be too busy: run banyan demo again.",
  });
}

/** As `--since` has it. */
export function secondsSince(ms: number): string {
  return `${Math.max(1, Math.floor((Date.now() - ms) / 1_000))}s`;
}
