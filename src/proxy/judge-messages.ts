import type { ReadBatchMessage } from "./read-batch.ts";
import type { RouteNoise } from "./read-judge.ts";
import type { ProxySettings, ShadowSettings } from "./settings.ts";
import type { SharedBytes } from "./shadow-bytes.ts";
import type { ShadowOutcome } from "../rollout/shadow-counts.ts";
import type { SampleDifference } from "../rollout/shadow-log.ts";
import type { Side } from "../rollout/stage.ts";

/** What the thread that compares reads is given at its start. */
export interface JudgeStart {
  readonly settings: ShadowSettings;
  readonly routes: ProxySettings["routes"];
  readonly upstreams: ProxySettings["upstreams"];
  readonly bytes: SharedBytes;
  readonly recheckMs: readonly number[] | undefined;
}

/** What it is sent. */
export type ToJudge = "close" | HandedBatch;

export interface HandedBatch extends ReadBatchMessage {
  /** Who has answered all of its reads. */
  readonly answeredBy: Side;
  /** When it was sent, by steadyNowMs. */
  readonly sentMs: number;
}

/** What it says of its work since the report before. */
export interface JudgeReport {
  readonly outcomes: readonly { key: number; outcome: ShadowOutcome; times: number }[];
  readonly differences: readonly ReadDifference[];
  /** Of the routes of which something was learned. */
  readonly noise: readonly RouteNoise[];
  readonly clients: Readonly<Record<Side, ClientState>>;
}

export interface ReadDifference {
  readonly key: number;
  readonly target: string;
  readonly differences: readonly SampleDifference[];
}

export interface ClientState {
  readonly inFlight: number;
  readonly waiting: number;
  readonly breakerOpen: boolean;
}
