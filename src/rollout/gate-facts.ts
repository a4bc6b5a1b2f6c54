import type { ParityState } from "../verify/parity-report.ts";

/** What gates and alarms are judged by, as the store has it. */
export interface GateFactsReader {
  /**
   * @param sinceSeconds how far back traffic is counted; of the moved side not before it stood where it stands
   * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
   */
  read(type: string, sinceSeconds: number): Promise<GateFacts>;
  /**
   * Answers of legacy in the last hour in which it gave any, as far back as that may be: what the moved share
   * is held against where legacy answers too little, or nothing any more.
   */
  legacyBefore(type: string): Promise<SideTraffic>;
  /**
   * Throws away traffic older than so long, but for what {@link legacyBefore} reads, and proxies that were not
   * seen for so long. @returns rows that went
   */
  purge(olderThanSeconds: number): Promise<number>;
}

export interface GateFacts {
  /** How long the stream type has stood where it stands. */
  readonly standsSeconds: number;
  /** Of the latest verification; absent when there was none. */
  readonly parity?: {
    readonly state: ParityState;
    readonly conclusive: boolean;
    /** Since it was verified, or since a watch last saw that it still holds. */
    readonly ageSeconds: number;
    /** Since everything was compared. */
    readonly sweptSeconds: number;
    /** Of this stream type. */
    readonly openFindings: number;
  };
  /** Verdicts on dual writes since it stands where it stands. */
  readonly dual: {
    readonly pass: number;
    readonly fail: number;
    readonly inconclusive: number;
    readonly waiting: number;
  };
  /** Shadow reads since then. */
  readonly shadow: {
    readonly compared: number;
    readonly different: number;
    readonly uncompared: number;
    readonly dropped: number;
  };
  /** Answers of the new service, */
  readonly moved: SideTraffic;
  /** and of legacy, to requests about the same stream type. */
  readonly legacy: SideTraffic;
  /** Of the capture; absent when it has never run. */
  readonly capture?: {
    /** Undefined while it is not known, and while what was there before is still being read. */
    readonly lagSeconds: number | undefined;
    readonly silentSeconds: number;
  };
  /** Aggregates of the stream type that wait in quarantine. */
  readonly quarantined: number;
  /** Of reverse sync; absent when it has never run. */
  readonly reverse?: { readonly lagSeconds: number; readonly silentSeconds: number };
  /** Aggregates of the stream type that wait in a conflict of it. */
  readonly reverseConflicts: number;
  /** Proxies that were seen a moment ago. */
  readonly proxies: number;
}

export interface SideTraffic {
  readonly requests: number;
  readonly errors: number;
  /** By duration, as `slower` of banyan.traffic. */
  readonly slower: readonly number[];
}

export const NO_TRAFFIC: SideTraffic = { requests: 0, errors: 0, slower: [] };
