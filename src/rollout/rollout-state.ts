import type { Rollout } from "./stage.ts";

/**
 * Where every stream type of one migration stands, as somebody else decides it. Every implementation
 * passes test/contract/rollout-state.contract.ts.
 */
export interface RolloutState {
  /**
   * As of one moment between the call and its end. A stream type that is not in it has not begun to move.
   * Ends within seconds, one way or the other.
   *
   * @throws BanyanError `STORE_UNREACHABLE`, `STORE_REFUSED`
   */
  read(): Promise<ReadonlyMap<string, Rollout>>;
  close(): Promise<void>;
}
