/** What moves, gates and alarms keep to; `rollout` of the config, with its defaults. */
export interface RolloutSettings {
  /** For so long writes are held back at most. */
  readonly holdSeconds: number;
  /** Percents that `promote` goes through when it is not told where to, rising. */
  readonly shares: readonly number[];
  readonly gates: GateSettings;
  readonly alarms: AlarmSettings;
}

export interface GateSettings {
  /** How old the last verification may be. */
  readonly parityMinutesMax: number;
  /** Verdicts on dual writes that are needed, */
  readonly dualSamplesMin: number;
  /** and how many of them may be failures. */
  readonly dualFailuresMax: number;
  /** Shadow reads that must have been compared, */
  readonly shadowSamplesMin: number;
  /** and the share of them that must have been alike, 0 to 1. */
  readonly shadowMatchMin: number;
  /** Requests to the moved share that errors and latency are judged by. */
  readonly trafficSamplesMin: number;
  /** Errors of the moved share beyond the rate of legacy, 0 to 1. */
  readonly errorRateMax: number;
  /** By so much the moved share may be slower than legacy, 95th percentile. */
  readonly latencyMsMax: number;
  readonly lagSecondsMax: number;
  /** A gate that could not be told for so long says that waiting will not help. */
  readonly hoursMax: number;
}

export interface AlarmSettings {
  /** What is looked back on. */
  readonly windowSeconds: number;
  readonly samplesMin: number;
  readonly errorRateMax: number;
  readonly latencyMsMax: number;
  /** Share of judged dual writes that may fail, 0 to 1. */
  readonly dualFailureRateMax: number;
  /** Share of compared reads that may differ, 0 to 1. */
  readonly differentRateMax: number;
}
