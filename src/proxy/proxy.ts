import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { openAccessLog } from "./access-log.ts";
import { startAdmin, type AdminPlane } from "./admin.ts";
import { forwardedHeaders } from "./forwarded-headers.ts";
import type { Handling } from "./handle.ts";
import { HeldBodies } from "./held-bodies.ts";
import { describeAddress, type Address } from "./listen-address.ts";
import { proxyMetrics, type ProxyMetrics } from "./metrics.ts";
import { compileRoutes } from "./route-table.ts";
import { clientServer } from "./server.ts";
import type { ProxySettings } from "./settings.ts";
import { addShadowMetrics } from "./shadow-metrics.ts";
import { Shadow, type ShadowTrial } from "./shadow.ts";
import { Upstream } from "./upstream.ts";
import { BanyanError } from "../model/errors.ts";
import type { RolloutState } from "../rollout/rollout-state.ts";
import type { ShadowLog } from "../rollout/shadow-log.ts";
import { RolloutWatch, type RolloutWatchOptions } from "../rollout/rollout-watch.ts";
import { SIDES, type Side } from "../rollout/stage.ts";

export interface ProxyOptions {
  readonly settings: ProxySettings;
  readonly state: RolloutState;
  /** Gets mirrored writes and samples of differences; absent: they are only counted. */
  readonly shadowLog?: ShadowLog | undefined;
  readonly watch?: Pick<RolloutWatchOptions, "keepMs" | "pollMs">;
  readonly onNote?: (text: string) => void;
  /** For tests: how long a client may take for its head. */
  readonly headersMsMax?: number;
  readonly shadowTrial?: ShadowTrial;
  /** For tests: bytes of all bodies that routes look into. */
  readonly heldBytesMax?: number;
}

export interface RunningProxy {
  readonly address: Address;
  readonly admin: Address | undefined;
  readonly metrics: ProxyMetrics;
  /** Absent when nothing is compared or mirrored. */
  readonly shadow: Shadow | undefined;
  /** Whether the rollout has been read. */
  isReady(): boolean;
  /** Settles when a drain was asked for on the admin plane. */
  readonly drainAsked: Promise<void>;
  /** Takes no more, lets what is under way end until the signal aborts, then closes everything. */
  close(signal: AbortSignal): Promise<void>;
}

/**
 * Starts the proxy: one address in front of the legacy application and the new service. It reads where each
 * stream type stands, again and again, and sends each request to the side that has authority over the
 * aggregate it names. What no route knows goes to legacy.
 *
 * @throws BanyanError `PROXY_NOT_LISTENING`, `CONFIG_INVALID`
 */
export async function startProxy(options: ProxyOptions): Promise<RunningProxy> {
  const { settings, onNote = () => undefined } = options;
  const stop = new AbortController();
  let isDraining = false;
  const watch = watchRollout(options, onNote);
  const upstreams: Record<Side, Upstream> = {
    legacy: new Upstream("legacy", settings.upstreams.legacy),
    new: new Upstream("new", settings.upstreams.new),
  };
  const both = SIDES.map((side) => upstreams[side]);
  const log = openAccessLog(settings.accessLog);
  const metrics = proxyMetrics(both, watch, log, () => clients.connections);
  const shadow = openShadow(options, watch, onNote);
  if (shadow !== undefined) addShadowMetrics(shadow, metrics.registry);
  const handling: Handling = {
    routes: compileRoutes(settings.routes),
    watch,
    upstreams,
    forwarded: forwardedHeaders(settings.trusted),
    instance: randomUUID(),
    held: new HeldBodies(options.heldBytesMax),
    log,
    metrics,
    shadow,
    isDraining: () => isDraining,
    onBug: (error) => onNote(`a request could not be handled: ${describe(error)}`),
  };
  const clients = clientServer(handling, options.headersMsMax);
  const { server } = clients;
  let ask: () => void = () => undefined;
  const drainAsked = new Promise<void>((done) => (ask = done));
  let admin: AdminPlane | undefined;
  const release = async (): Promise<void> => {
    stop.abort();
    await admin?.close();
    await shadow?.close();
    await Promise.all(both.map((upstream) => upstream.close()));
    await log.close();
  };
  try {
    if (settings.admin !== undefined) {
      admin = await startAdmin(settings.admin, {
        metrics,
        watch,
        upstreams: both,
        shadow,
        isDraining: () => isDraining,
        drain: ask,
        audit: (what, peer) => onNote(`audit: ${what} was asked for by ${peer}`),
      });
    }
    // One read before the first request, so that a proxy that starts well never refuses one.
    await watch.refresh();
    await listen(server, settings.listen);
  } catch (error) {
    await release();
    throw error;
  }
  const running = [
    watch.run(stop.signal),
    ...both.map((one) => runHealth(one, stop.signal, onNote)),
  ];
  return {
    address: addressOf(server, settings.listen),
    admin: admin?.address,
    metrics,
    shadow,
    drainAsked,
    isReady: () => Number.isFinite(watch.ageMs),
    async close(signal) {
      isDraining = true;
      await clients.drain(signal);
      await release();
      await Promise.all(running);
    },
  };
}

function openShadow(
  { settings, shadowLog, shadowTrial }: ProxyOptions,
  watch: RolloutWatch,
  onNote: (text: string) => void,
): Shadow | undefined {
  const { shadow, upstreams } = settings;
  if (shadow === undefined) return undefined;
  return new Shadow({
    settings: shadow,
    upstreams,
    watch,
    log: shadowLog,
    onNote,
    trial: shadowTrial,
  });
}

function watchRollout(
  { state, watch }: ProxyOptions,
  onNote: (text: string) => void,
): RolloutWatch {
  return new RolloutWatch({
    ...watch,
    state,
    onChange: (type, { stage, share, epoch }) => {
      const of = stage === "canary" ? ` ${share / 100} %` : "";
      onNote(`${type} is at ${stage}${of}, epoch ${epoch}`);
    },
    onProblem: (problem) =>
      onNote(
        problem === undefined
          ? "the rollout is read again"
          : `the rollout could not be read: ${problem}`,
      ),
  });
}

function runHealth(
  upstream: Upstream,
  signal: AbortSignal,
  onNote: (text: string) => void,
): Promise<void> {
  return upstream.health.run(signal, (isWell) => {
    onNote(
      `${upstream.side} ${isWell ? "is well again" : "fails its health check and is not asked"}`,
    );
  });
}

async function listen(server: Server, { host, port }: Address): Promise<void> {
  await new Promise<void>((done, fail) => {
    server.once("error", fail);
    server.listen({ host, port }, () => {
      server.off("error", fail);
      done();
    });
  }).catch((cause: unknown) => {
    throw new BanyanError(
      "PROXY_NOT_LISTENING",
      `the proxy cannot listen on ${describeAddress({ host, port })}: ${(cause as Error).message}`,
      { cause, hint: "Change proxy.listen, or stop what listens there" },
    );
  });
}

function addressOf(server: Server, { host, port }: Address): Address {
  const bound = server.address();
  return { host, port: typeof bound === "object" && bound !== null ? bound.port : port };
}

function describe(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}
