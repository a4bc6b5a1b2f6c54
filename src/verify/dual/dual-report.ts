import type { Judged } from "./judge-waiting.ts";
import type { DualStore, FailedWrite, VerdictCount } from "../../store/dual-store.ts";
import { plural } from "../../model/count-text.ts";

/** What `banyan verify --dual` says; with `--json` it is the document. */
export interface DualReport {
  /** `pass`: no failure, and something passed. `inconclusive`: neither the one nor the other. */
  readonly state: "pass" | "fail" | "inconclusive";
  readonly pipeline: string;
  /** ISO 8601: writes that were asked before are left out. */
  readonly since: string;
  readonly pass: number;
  readonly fail: number;
  readonly inconclusive: number;
  /** Not judged yet. */
  readonly waiting: number;
  readonly routes: readonly RouteVerdicts[];
  readonly samples: readonly DualSample[];
  readonly nextSteps: readonly string[];
}

export interface RouteVerdicts {
  readonly streamType: string;
  readonly route: string;
  readonly pass: number;
  readonly fail: number;
  readonly inconclusive: number;
  readonly waiting: number;
  /** How often each reason was given. */
  readonly reasons: Readonly<Record<string, number>>;
}

/** One failure with both sides. Values are left out unless they were asked for. */
export interface DualSample {
  readonly streamType: string;
  readonly route: string;
  readonly reason: string;
  readonly correlationId: string;
  /** ISO 8601. */
  readonly askedAt: string;
  readonly legacyStatus: number;
  readonly newStatus: number;
  readonly streams: readonly {
    /** Null where that side would not write. */
    readonly legacy: string | null;
    readonly proposed: string | null;
    readonly decidedOn: number;
    readonly legacyEvents: readonly SampleEvent[];
    readonly proposedEvents: readonly SampleEvent[];
  }[];
  readonly partings: readonly {
    readonly role: string;
    readonly key: string;
    readonly verdict: string;
    readonly columns: readonly {
      readonly column: string;
      readonly legacy: string | null;
      readonly proposed: string | null;
    }[];
  }[];
}

export interface SampleEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
}

export interface DualReportOptions {
  readonly pipeline: string;
  readonly streamTypes: readonly string[];
  readonly sinceMs: number;
  /** Failures to show of each route. */
  readonly samplesPerRoute: number;
  readonly showValues: boolean;
}

export async function reportDual(
  dual: DualStore,
  { pipeline, streamTypes, sinceMs, samplesPerRoute, showValues }: DualReportOptions,
): Promise<DualReport> {
  const counts = await dual.counts(pipeline, streamTypes, sinceMs);
  const failures = await dual.failures(pipeline, streamTypes, sinceMs, samplesPerRoute);
  const routes = routesOf(counts);
  const total = (verdict: keyof Judged): number =>
    routes.reduce((sum, route) => sum + route[verdict], 0);
  const [pass, fail] = [total("pass"), total("fail")];
  const state = fail > 0 ? "fail" : pass > 0 ? "pass" : "inconclusive";
  return {
    state,
    pipeline,
    since: new Date(sinceMs).toISOString(),
    pass,
    fail,
    inconclusive: total("inconclusive"),
    waiting: total("waiting"),
    routes,
    samples: failures.map((failure) => sampleOf(failure, showValues)),
    nextSteps: nextSteps(state, failures),
  };
}

function routesOf(counts: readonly VerdictCount[]): readonly RouteVerdicts[] {
  const routes = new Map<
    string,
    Record<keyof Judged, number> & Omit<RouteVerdicts, keyof Judged>
  >();
  for (const { streamType, route, verdict, reason, count } of counts) {
    const id = JSON.stringify([streamType, route]);
    let entry = routes.get(id);
    if (entry === undefined) {
      entry = { streamType, route, pass: 0, fail: 0, inconclusive: 0, waiting: 0, reasons: {} };
      routes.set(id, entry);
    }
    entry[verdict] += count;
    if (reason !== "") (entry.reasons as Record<string, number>)[reason] = count;
  }
  return [...routes.values()];
}

function nextSteps(state: DualReport["state"], failures: readonly FailedWrite[]): string[] {
  if (state === "pass") return [];
  if (state === "inconclusive") return ["banyan status"];
  const stream = failures.map(({ write }) => write.stream).find((id) => id !== undefined);
  return [
    ...(stream === undefined ? [] : [`banyan history ${stream}`]),
    "banyan verify --dual --show-values",
  ];
}

/** A failure as judge-write.ts keeps it; the store gives it back as it was. */
type Kept = {
  readonly streams: readonly {
    readonly stream?: string;
    readonly proposed?: string;
    readonly decidedOn: number;
    readonly legacyEvents: readonly SampleEvent[];
    readonly proposedEvents: readonly SampleEvent[];
  }[];
  readonly partings: DualSample["partings"];
};

function sampleOf({ write, reason, detail }: FailedWrite, showValues: boolean): DualSample {
  const { streams = [], partings = [] } = (detail ?? {}) as Partial<Kept>;
  const shown = (events: readonly SampleEvent[]): readonly SampleEvent[] =>
    showValues ? events : events.map(({ type, data }) => ({ type, data: namesOnly(data) }));
  return {
    streamType: write.streamType,
    route: write.route,
    reason,
    correlationId: write.correlationId,
    askedAt: new Date(write.askedAtMs).toISOString(),
    // A write that somebody left unanswered does not fail.
    legacyStatus: write.legacyStatus ?? 0,
    newStatus: write.newStatus ?? 0,
    streams: streams.map((entry) => ({
      legacy: entry.stream ?? null,
      proposed: entry.proposed ?? null,
      decidedOn: entry.decidedOn,
      legacyEvents: shown(entry.legacyEvents),
      proposedEvents: shown(entry.proposedEvents),
    })),
    partings: partings.map(({ role, key, verdict, columns }) => ({
      role,
      key,
      verdict,
      columns: columns.map(({ column, legacy, proposed }) => ({
        column,
        legacy: showValues ? legacy : lengthOf(legacy),
        proposed: showValues ? proposed : lengthOf(proposed),
      })),
    })),
  };
}

function lengthOf(value: string | null): string | null {
  return value === null ? null : plural(value.length, "character");
}

function namesOnly(data: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.keys(data).map((name) => [name, "…"]));
}
