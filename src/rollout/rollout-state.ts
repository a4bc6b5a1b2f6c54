import type { Rollout } from "./stage.ts";

/**
 * Where every stream type of one migration stands, as somebody else decides it, and what a proxy says back.
 * Every implementation passes test/contract/rollout-state.contract.ts. Every call ends within seconds, one
 * way or the other, and throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`.
 */
export interface RolloutState {
  /** As of one moment between the call and its end. A stream type that is not in it has not begun to move. */
  read(): Promise<ReadonlyMap<string, Rollout>>;
  /**
   * Says that a proxy is there, and of each stream type that no write which it decided on an earlier epoch
   * than this is under way any more. An epoch once acknowledged stays so.
   *
   * @param knows by stream type, the epoch that it decides by; the same when absent
   */
  acknowledge(
    proxy: ProxyPlace,
    epochs: ReadonlyMap<string, number>,
    knows?: ReadonlyMap<string, number>,
  ): Promise<void>;
  /** A proxy has ended, and nothing that it sent is under way: no move waits for it. */
  leave(proxy: ProxyPlace): Promise<void>;
  /**
   * Ends a hold that is over by the clock, unless something has changed since that epoch: raises the epoch,
   * and says so in the log of the rollout. Behind the switch of a rollback of which it is not known that
   * legacy has everything, the authority goes back with it.
   *
   * @returns whether this call has ended it
   */
  endHold(type: string, epoch: number, who: string): Promise<boolean>;
  /** Those of these streams that have an event. */
  existing(streams: readonly string[]): Promise<ReadonlySet<string>>;
  close(): Promise<void>;
}

export interface ProxyPlace {
  /** A UUID, another for each process. */
  readonly instance: string;
  /** Host and process, for people. */
  readonly place: string;
}
