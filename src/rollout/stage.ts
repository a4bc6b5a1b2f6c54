/** How far a stream type has moved; see the table in docs/6-proxy.md. */
export const STAGES = ["legacy", "shadow", "canary", "new", "complete"] as const;

export type Stage = (typeof STAGES)[number];

/** The two applications that can answer for an aggregate. */
export const SIDES = ["legacy", "new"] as const;

export type Side = (typeof SIDES)[number];

export function otherSide(side: Side): Side {
  return side === "legacy" ? "new" : "legacy";
}

/** Where a stream type stands. */
export interface Rollout {
  readonly stage: Stage;
  /** Buckets below it have moved, 0 to 10,000. Means something at `canary` only. */
  readonly share: number;
  /** Mixed into the bucket of every aggregate; fixed for the life of a migration. */
  readonly salt: string;
  /** Raised by every change. What has a lower one is older, whenever it arrives. */
  readonly epoch: number;
  /** Writes that proxies hold back while a move is under way. */
  readonly hold?: Hold | undefined;
}

/** Buckets whose writes are held back, from the first to before the last. */
export interface Hold {
  readonly from: number;
  readonly to: number;
  /** When it was read; after so long it is over, and whoever ends it raises the epoch. */
  readonly leftMs: number;
  /** Who answers reads of these buckets meanwhile; absent: who has authority. */
  readonly reads?: Side | undefined;
}

/** Of a stream type that nobody has begun to move. */
export const UNMOVED: Rollout = { stage: "legacy", share: 0, salt: "", epoch: 0 };
