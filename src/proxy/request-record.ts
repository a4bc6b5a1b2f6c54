import type { Decision } from "./decide.ts";
import type { Refusal } from "./refusal.ts";

/** What is to be told of a request, filled in while it goes through. */
export interface RequestRecord {
  /** Of performance.now(). */
  readonly startedMs: number;
  readonly method: string;
  readonly peer: string;
  /** Without the query, which may hold what nobody should read in a log. */
  path: string;
  trace: string | undefined;
  decision: Decision | undefined;
  /** Given to a routed request, for both sides. */
  correlation: string | undefined;
  /** When it was sent to an upstream; undefined when it was not. */
  sentMs: number | undefined;
  /** For so long it was held back, because a move was under way. */
  heldMs: number | undefined;
  /** 0 when there was no answer. */
  status: number;
  bytesIn: number;
  bytesOut: number;
  /** From the beginning to the head of the upstream's answer. */
  headMs: number | undefined;
  end: "done" | "client-went-away" | "upstream-broke-off" | "tunnel" | Refusal;
}
