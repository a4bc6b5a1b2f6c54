import { randomUUID } from "node:crypto";
import type { Server } from "node:http";
import { hostname } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { openAccessLog } from "./access-log.ts";
import { startAdmin, type AdminPlane } from "./admin.ts";
import { Creations } from "./creations.ts";
import { forwardedHeaders } from "./forwarded-headers.ts";
import type { Handling } from "./handle.ts";
import { HeldBodies } from "./held-bodies.ts";
import { HeldRequests } from "./held-requests.ts";
import { describeAddress, type Address } from "./listen-address.ts";
import { proxyMetrics, type ProxyMetrics } from "./metrics.ts";
import { compileRoutes } from "./route-table.ts";
import { clientServer } from "./server.ts";
import type { ProxySettings } from "./settings.ts";
import { addShadowMetrics } from "./shadow-metrics.ts";
import { Shadow, type ShadowTrial } from "./shadow.ts";
import { Upstream } from "./upstream.ts";
import { BanyanError } from "../model/errors.ts";
import { Presence } from "../rollout/presence.ts";
import type { ProxyPlace, RolloutState } from "../rollout/rollout-state.ts";
import type { ShadowLog } from "../rollout/shadow-log.ts";
import { RolloutWatch, type RolloutWatchOptions } from "../rollout/rollout-watch.ts";
import { SIDES, type Rollout, type Side } from "../rollout/stage.ts";
import { TrafficCounts } from "../rollout/traffic.ts";
import { writeTraffic, type TrafficLog } from "../rollout/traffic-log.ts";
import { UnderWay } from "../rollout/under-way.ts";
import { aborted } from "../runtime/aborted.ts";

/** Between two looks at what is under way still. */
const LOOK_MS = 20;

export interface ProxyOptions {
  readonly settings: ProxySettings;
  readonly state: RolloutState;
  /** Gets mirrored writes and samples of differences; absent: they are only counted. */
  readonly shadowLog?: ShadowLog | undefined;
  readonly watch?: Pick<RolloutWatchOptions, "keepMs" | "pollMs">;
  /** Where the counts of requests go; absent: nowhere. */
  readonly traffic?: TrafficLog;
  readonly onNote?: (text: string) => void;
  /** Draws the side of creations that have no id yet: 0 to below 1. */
  readonly random?: () => number;
  /** For tests: how long a client may take for its head. */
  readonly headersMsMax?: number;
  readonly shadowTrial?: ShadowTrial;
  /** For tests: bytes of all bodies that routes look into. */
  readonly heldBytesMax?: number;
  /** For tests: requests that wait for the end of a hold, and for how long. */
  readonly heldMax?: number;
  readonly heldMsMax?: number;
  /** For tests: how long an answer to a creation is held back. */
  readonly awaitedMsMax?: number;
}

export interface RunningProxy {
  readonly address: Address;
  readonly admin: Address | undefined;
  readonly metrics: ProxyMetrics;
  /** As the store knows this proxy. */
  readonly place: ProxyPlace;
  /** Counts of requests, for those who have something to add. */
  readonly traffic: TrafficCounts;
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
  const { settings, state, onNote = () => undefined } = options;
  const stop = new AbortController();
  let isDraining = false;
  const place = { instance: randomUUID(), place: `${hostname()} ${process.pid}` };
  const upstreams: Record<Side, Upstream> = {
    legacy: new Upstream("legacy", settings.upstreams.legacy),
    new: new Upstream("new", settings.upstreams.new),
  };
  const both = SIDES.map((side) => upstreams[side]);
  const heldRequests = new HeldRequests({
    ...options,
    hasRoom: () => both.every(({ hasRoom }) => hasRoom),
  });
  const underWay = new UnderWay({
    unknownMs: Math.max(...SIDES.map((side) => settings.upstreams[side].responseMsMax)),
    onEnd: (type) => presence.ask(type),
  });
  const watch = watchRollout(options, onNote, {
    who: `proxy ${place.place}`,
    isHeard: () => presence.isHeard,
    onChange: (type) => {
      heldRequests.changed(type);
      presence.ask(type);
    },
  });
  const presence = new Presence({
    state,
    proxy: place,
    types: [...new Set(settings.routes.map(({ stream }) => stream))],
    watch,
    underWay,
    onProblem: (problem) => onNote(told("the presence of this proxy", "said", problem)),
  });
  const creations = new Creations(state, watch, options.awaitedMsMax);
  const traffic = new TrafficCounts();
  const log = openAccessLog(settings.accessLog);
  const moves = { heldRequests, underWay, presence, creations, traffic };
  const metrics = proxyMetrics({
    ...moves,
    upstreams: both,
    watch,
    log,
    connections: () => clients.connections,
  });
  const shadow = openShadow(options, watch, traffic, onNote);
  if (shadow !== undefined) addShadowMetrics(shadow, metrics.registry);
  const handling: Handling = {
    routes: compileRoutes(settings.routes),
    watch,
    upstreams,
    forwarded: forwardedHeaders(settings.trusted),
    instance: place.instance,
    held: new HeldBodies(options.heldBytesMax),
    ...moves,
    random: options.random ?? Math.random,
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
        ...moves,
        metrics,
        watch,
        upstreams: both,
        instance: place.instance,
        shadow,
        isDraining: () => isDraining,
        drain: ask,
        audit: (what, peer) => onNote(`audit: ${what} was asked for by ${peer}`),
      });
    }
    // Before it reads: a move that has begun by then is read, and one that begins later knows of it.
    await presence.say();
    // One read before the first request, so that a proxy that starts well never refuses one.
    await watch.refresh();
    await listen(server, settings.listen);
  } catch (error) {
    await release();
    await presence.leave();
    throw error;
  }
  const { signal: stopped } = stop;
  const running = [
    watch.run(stopped),
    presence.run(stopped),
    runTraffic(options.traffic, traffic, place, onNote, stopped),
    ...both.map((one) => runHealth(one, stopped, onNote)),
  ];
  return {
    address: addressOf(server, settings.listen),
    admin: admin?.address,
    metrics,
    place,
    traffic,
    shadow,
    drainAsked,
    isReady: () => Number.isFinite(watch.ageMs),
    async close(signal) {
      isDraining = true;
      await clients.drain(signal);
      // Of which the clients have gone.
      await Promise.race([ended(underWay), aborted(signal)]);
      await release();
      await Promise.all(running);
      await presence.leave();
    },
  };
}

function openShadow(
  { settings, shadowLog, shadowTrial }: ProxyOptions,
  watch: RolloutWatch,
  counts: TrafficCounts,
  onNote: (text: string) => void,
): Shadow | undefined {
  const { shadow, upstreams, routes } = settings;
  if (shadow === undefined) return undefined;
  return new Shadow({
    settings: shadow,
    upstreams,
    routes,
    watch,
    log: shadowLog,
    counts,
    onNote,
    trial: shadowTrial,
  });
}

function watchRollout(
  { state, watch }: ProxyOptions,
  onNote: (text: string) => void,
  parts: { who: string; isHeard: () => boolean; onChange: (type: string) => void },
): RolloutWatch {
  return new RolloutWatch({
    ...watch,
    ...parts,
    state,
    onChange: (type, rollout) => {
      onNote(`${type} is at ${describeRollout(rollout)}`);
      parts.onChange(type);
    },
    onHoldEnded: (type) => onNote(`the hold of ${type} was over by the clock, and is ended`),
    onProblem: (problem) => onNote(told("the rollout", "read", problem)),
  });
}

function describeRollout({ stage, share, hold, epoch }: Rollout): string {
  const of = stage === "canary" ? ` ${share / 100} %` : "";
  const held =
    hold === undefined ? "" : `, writes of buckets ${hold.from} to ${hold.to - 1} are held back`;
  return `${stage}${of}${held}, epoch ${epoch}`;
}

function told(what: string, done: string, problem: string | undefined): string {
  return problem === undefined
    ? `${what} is ${done} again`
    : `${what} could not be ${done}: ${problem}`;
}

async function runTraffic(
  log: TrafficLog | undefined,
  counts: TrafficCounts,
  { instance }: ProxyPlace,
  onNote: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  if (log === undefined) return;
  const onProblem = (problem: string | undefined): void =>
    onNote(told("what was counted", "written", problem));
  await writeTraffic({ counts, log, instance, onProblem }, signal);
}

/** Looks again and again, because it is for the end of a process only. */
async function ended(underWay: UnderWay): Promise<void> {
  while (underWay.count > 0) await sleep(LOOK_MS);
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
