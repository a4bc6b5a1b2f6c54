import { randomUUID } from "node:crypto";
import { aggregateIdOf, type RequestParts } from "./aggregate-id.ts";
import type { Decision } from "./decide.ts";
import type { Outgoing } from "./forward.ts";
import { nameOf, type ReadKind } from "./read-key.ts";
import { RequestBody } from "./request-body.ts";
import type { RouteMatch } from "./route-table.ts";
import type { ProxySettings, ShadowSettings } from "./settings.ts";
import { ShadowBytes } from "./shadow-bytes.ts";
import { ShadowClient } from "./shadow-client.ts";
import { ShadowReads, type ReadsTrial } from "./shadow-reads.ts";
import { ShadowRows } from "./shadow-rows.ts";
import { sampleTarget } from "./shadow-sample.ts";
import { ShadowWrites } from "./shadow-writes.ts";
import { streamId } from "../mapping/stream-id.ts";
import { isStorableText } from "../model/storable-text.ts";
import type { RolloutWatch } from "../rollout/rollout-watch.ts";
import { ShadowTotals, type ShadowCounts, type ShadowTotal } from "../rollout/shadow-counts.ts";
import type { SampleDifference, ShadowLog } from "../rollout/shadow-log.ts";
import type { Side } from "../rollout/stage.ts";

export interface ShadowOptions {
  readonly settings: ShadowSettings;
  readonly upstreams: ProxySettings["upstreams"];
  readonly routes: ProxySettings["routes"];
  readonly watch: RolloutWatch;
  /** Absent: nothing is stored. */
  readonly log?: ShadowLog | undefined;
  /** Told of each read, beside the totals that are kept here. */
  readonly counts?: ShadowCounts | undefined;
  readonly onNote: (text: string) => void;
  readonly trial?: ShadowTrial | undefined;
}

/** For tests. */
export interface ShadowTrial extends ReadsTrial {
  readonly bytesMax?: number;
}

/** A request that was decided, and what it goes on with. */
export interface Accompanied {
  readonly method: string;
  readonly decision: Decision;
  readonly parts: RequestParts;
  readonly outgoing: Outgoing;
}

export interface ShadowState {
  readonly reads: readonly ShadowTotal[];
  /** Of the reads that were chosen, those that are compared now; fewer than all while the proxy is busy. */
  readonly share: number;
  readonly noise: ShadowReads["noise"];
  /** Threads that compared reads and were lost. */
  readonly threadsLost: number;
  readonly writesMirrored: number;
  readonly writesDropped: number;
  /** Rows that are not in the store yet, and those that will never be. */
  readonly rowsWaiting: number;
  readonly rowsDropped: number;
  readonly underWay: number;
  readonly heldBytes: number;
  readonly clients: readonly {
    readonly side: Side;
    readonly kind: "reads" | "writes";
    readonly inFlight: number;
    readonly waiting: number;
    readonly breakerOpen: boolean;
  }[];
}

/**
 * Traffic in shadow: reads of which the other side is asked too, and writes that the new service gets beside
 * legacy. What comes of it is counted and stored, and is nobody's answer.
 */
export class Shadow {
  readonly #options: ShadowOptions;
  readonly #totals = new ShadowTotals();
  readonly #bytes: ShadowBytes;
  readonly #writeClient: ShadowClient;
  readonly #reads: ShadowReads;
  readonly #writes: ShadowWrites;
  readonly #rows: ShadowRows | undefined;
  #mirrored = 0;
  #dropped = 0;

  constructor(options: ShadowOptions) {
    const { settings, upstreams, routes, log, onNote, trial = {} } = options;
    this.#options = options;
    this.#bytes = new ShadowBytes(trial.bytesMax);
    this.#writeClient = new ShadowClient("new", upstreams.new, settings, this.#bytes);
    this.#rows = log && new ShadowRows(log, (problem) => onNote(noteOf(problem)));
    this.#reads = new ShadowReads({
      settings,
      routes,
      upstreams,
      bytes: this.#bytes,
      trial,
      onNote,
      onOutcome: (kind, outcome, times) => {
        const { route, side } = kind;
        for (const counts of [this.#totals, options.counts])
          counts?.addShadow(route.stream, nameOf(kind), side, outcome, times);
      },
      onDifference: (kind, target, differences) => this.#sample(kind, target, differences),
    });
    this.#writes = new ShadowWrites({
      settings,
      client: this.#writeClient,
      bytes: this.#bytes,
      onMirrored: (write) => {
        this.#mirrored++;
        this.#rows?.addWrite(write);
      },
      onDropped: () => this.#dropped++,
    });
  }

  get state(): ShadowState {
    const { legacy, new: fresh } = this.#reads.clients;
    const { inFlight, waiting, isLeftAlone: breakerOpen } = this.#writeClient;
    return {
      reads: this.#totals.all,
      share: this.#reads.share,
      noise: this.#reads.noise,
      threadsLost: this.#reads.threadsLost,
      writesMirrored: this.#mirrored,
      writesDropped: this.#dropped,
      rowsWaiting: this.#rows?.waiting ?? 0,
      rowsDropped: this.#rows?.dropped ?? 0,
      underWay: this.#reads.underWay + this.#writes.underWay,
      heldBytes: this.#bytes.held,
      clients: [
        { side: "legacy", kind: "reads", ...legacy },
        { side: "new", kind: "reads", ...fresh },
        { side: "new", kind: "writes", inFlight, waiting, breakerOpen },
      ],
    };
  }

  /** What a request goes on with, so that it is looked on at where it should be. The same request in any case. */
  accompany(asked: Accompanied): Outgoing {
    try {
      return this.#accompany(asked);
    } catch (error) {
      this.#options.onNote(`a request could not be looked on at: ${String(error)}`);
      return asked.outgoing;
    }
  }

  #accompany(asked: Accompanied): Outgoing {
    const { decision, outgoing, method } = asked;
    const match = decision.route;
    if (match === undefined || outgoing.upgrade !== undefined) return outgoing;
    const { kind, stream, path } = match.route;
    if (this.#options.settings.except.includes(path)) return outgoing;
    const stage = this.#options.watch.of(stream)?.stage;
    // Before, new knows nothing of it; afterwards legacy is not kept in step.
    if (stage === undefined || stage === "legacy" || stage === "complete") return outgoing;
    if (kind !== "read") return decision.side === "legacy" ? this.#mirror(asked) : outgoing;
    const isSafe = (method === "GET" || method === "HEAD") && outgoing.body === undefined;
    if (!isSafe) return outgoing;
    const { target, headers, body, upgrade, onSend, onTunnel } = outgoing;
    const tap = this.#reads.tap({
      route: match.route,
      side: decision.side,
      method,
      target,
      headers,
    });
    if (tap === undefined) return outgoing;
    return { target, headers, body, upgrade, onSend, onTunnel, tap };
  }

  /** Ends what is under way; what is known by then is stored. */
  async close(): Promise<void> {
    this.#writeClient.close();
    await Promise.all([this.#reads.close(), this.#writes.rest()]);
    await this.#rows?.close();
  }

  #mirror({ method, decision, parts, outgoing }: Accompanied): Outgoing {
    const match = decision.route!;
    const { route } = match;
    const { target, body } = outgoing;
    const { headers, correlationId } = correlated(outgoing.headers);
    const mirror = this.#writes.mirror({
      method,
      target,
      headers,
      streamIdOf: (whole) => streamIdOf(match, parts, whole),
      named: {
        correlationId,
        streamType: route.stream,
        route: nameOf({ method, route }),
      },
    });
    if (mirror === undefined) return { ...outgoing, headers };
    const isStreamed = body instanceof RequestBody;
    if (isStreamed) body.copyTo(mirror.body);
    const onSend = (): void => {
      outgoing.onSend?.();
      if (isStreamed) mirror.sendStreamed();
      else mirror.send(body);
    };
    return { ...outgoing, headers, onSend, tap: mirror.answer };
  }

  #sample(kind: ReadKind, target: string, differences: readonly SampleDifference[]): void {
    this.#rows?.addSample({
      streamType: kind.route.stream,
      route: nameOf(kind),
      target: sampleTarget(target),
      differences,
      seenAt: new Date(),
    });
  }
}

function streamIdOf(
  match: RouteMatch,
  parts: RequestParts,
  body: Buffer | undefined,
): string | undefined {
  const id = aggregateIdOf(match, { ...parts, body });
  // The store could not keep it, nor is there such a stream.
  return typeof id === "string" && isStorableText(id)
    ? streamId(match.route.stream, id)
    : undefined;
}

/** Header lines with an id by which both sides name the request. */
function correlated(headers: readonly string[]): {
  readonly headers: readonly string[];
  readonly correlationId: string;
} {
  const at = headers.findIndex((text, i) => i % 2 === 0 && text === "banyan-correlation");
  if (at !== -1) return { headers, correlationId: headers[at + 1]! };
  const correlationId = randomUUID();
  return { headers: [...headers, "banyan-correlation", correlationId], correlationId };
}

function noteOf(problem: string | undefined): string {
  return problem === undefined
    ? "what was seen in shadow is stored again"
    : `what is seen in shadow cannot be stored: ${problem}`;
}
