import type { NewEvent } from "../model/event.ts";
import type { AppendResult } from "./event-store.ts";

/**
 * What services need of the store beside reading: appends that are held to the authority over the
 * aggregate, proposals, and ids for new aggregates.
 *
 * Every implementation passes test/contract/service-store.contract.ts.
 */
export interface ServiceStore {
  /**
   * Appends all events or none, under the authority that the new side has over the aggregate until they
   * are stored: whoever takes it away waits for that, and nothing is stored behind it.
   *
   * @returns `known` when any of the event ids is in the store already: nothing is stored then, whoever
   *   has authority now; `taken` when another stream has claimed a value: nothing is stored either
   * @throws BanyanError `AUTHORITY_ELSEWHERE` · `STREAM_VERSION_CONFLICT`
   */
  append(request: ServiceAppend): Promise<ServiceAppended>;

  /** Releases what a stream has claimed, unless it has claimed anew since. */
  release(pipeline: string, claim: HeldClaim): Promise<void>;

  /** Keeps what a service in shadow would have appended. */
  propose(proposal: Proposal): Promise<void>;

  /**
   * Takes an id for a new aggregate, out of a bucket over which the new side has authority now; nobody
   * is ever given the same.
   *
   * @returns undefined when there is none
   * @throws BanyanError `AUTHORITY_ELSEWHERE` when no bucket has moved
   */
  takeId(request: IdRequest): Promise<string | undefined>;

  /** Gives back an id that was taken and that nothing was stored under. */
  giveBack(request: IdRequest, id: string): Promise<void>;

  /**
   * Streams with an event that gives a column this value, the oldest first: those that have it, had it, or
   * have it in a row of another table. Captured ones are as late as the capture.
   *
   * @param value as the event has it in JSON, without quotes
   * @param limit streams at most
   */
  streamsNaming(
    streamType: string,
    column: string,
    value: string,
    limit: number,
  ): Promise<readonly string[]>;

  /** The stream that has this event. @param eventId lower-case UUID */
  streamOfEvent(eventId: string): Promise<string | undefined>;
}

export interface ServiceAppend {
  /** Name of the migration, whose rollout decides. */
  readonly pipeline: string;
  readonly stream: string;
  /** Version of the stream that was decided on; 0: it must not exist. */
  readonly expected: number;
  /** Says how the events fold. */
  readonly mappingVersion: number;
  readonly events: readonly NewEvent[];
  /** Values that no other stream of the type may have claimed, one per column; kept with the events. */
  readonly claims?: readonly Claim[];
}

export interface Claim {
  readonly column: string;
  /** As the events have it in JSON, without quotes; undefined to release what the stream has claimed. */
  readonly value: string | undefined;
}

/** A claim as it stands. */
export interface HeldClaim {
  readonly stream: string;
  readonly column: string;
  /** Of the stream, when it was claimed. */
  readonly version: number;
}

export type ServiceAppended =
  | ({ readonly outcome: "stored" } & AppendResult)
  | { readonly outcome: "known" }
  | { readonly outcome: "taken"; readonly by: HeldClaim };

export interface Proposal {
  readonly pipeline: string;
  readonly correlationId: string;
  readonly stream: string;
  /** Version of the stream; 0 when it does not exist. */
  readonly decidedOn: number;
  /** Empty for a refusal, and for nothing to do. */
  readonly events: readonly {
    readonly type: string;
    readonly data: Readonly<Record<string, unknown>>;
  }[];
  /** Versions of other streams that the decision rests on. */
  readonly inputs?: Readonly<Record<string, number>>;
}

export interface IdRequest {
  readonly pipeline: string;
  readonly streamType: string;
  /** `integer`: one that was reserved of the legacy sequence. `uuid`: drawn until its bucket has moved. */
  readonly form: "integer" | "uuid";
  /** Of a child's own key, which has no bucket. */
  readonly role?: string;
}
