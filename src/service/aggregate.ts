import type { Decided, Loaded } from "./decided.ts";
import type { Draft, EventMakers, StateOf } from "./event-types.ts";
import { newId, newRowId } from "./new-id.ts";
import type { RequestContext } from "./request-context.ts";
import {
  StreamWork,
  type CreateOptions,
  type Decide,
  type DecideNew,
  type Decision,
  type ExecuteOptions,
  type StreamWorkOptions,
} from "./stream-work.ts";
import { holders } from "./holders.ts";
import { writtenBack, type WrittenBackOptions } from "./written-back.ts";
import type { RowOf, StreamRef } from "../mapping/rules.ts";
import type { WrittenBack } from "../store/reverse-store.ts";

/** The aggregates of one stream type. */
export interface Aggregates<Stream extends StreamRef> {
  /** Makes events by the names and columns of the config: `orders.events.OrderPaid({ paid_at: now })`. */
  readonly events: EventMakers<Stream>;

  /** In place of events: the rows as they are to be, and the config's rules say what happened. */
  become(next: StateOf<Stream> | undefined): Draft<Stream>;

  /**
   * Folds the events of one aggregate.
   *
   * @param context of a command whose decision rests on this aggregate too: in shadow its version is told
   *   with the proposal, so that one that legacy saw otherwise is no failure
   */
  load(id: string, context?: RequestContext): Promise<Loaded<StateOf<Stream>>>;

  /**
   * Loads an aggregate, decides on it, and stores the events, if nothing came between; else loads and
   * decides anew, a few times. A command that was stored before is not decided again.
   *
   * @param decide gives the events; throws to refuse, which in shadow is told as a proposal without events
   * @throws BanyanError `AUTHORITY_ELSEWHERE` · `STREAM_VERSION_CONFLICT` · `EVENT_REFUSED` ·
   *   `VALUE_TAKEN`
   */
  execute(
    context: RequestContext,
    id: string,
    decide: (
      state: StateOf<Stream> | undefined,
      version: number,
    ) => Decision<Stream> | Promise<Decision<Stream>>,
    options?: ExecuteOptions,
  ): Promise<Decided<StateOf<Stream>>>;

  /**
   * As {@link execute} for an aggregate that is not there yet, under a new id, which is given back when
   * the decision is a refusal.
   *
   * @throws BanyanError as `execute`, and `RESERVED_IDS_EMPTY`
   */
  create(
    context: RequestContext,
    decide: (id: string) => Decision<Stream> | Promise<Decision<Stream>>,
    options?: CreateOptions,
  ): Promise<Decided<StateOf<Stream>>>;

  /**
   * Ids of the aggregates whose root row has this value now, for a rule over several of them. What legacy
   * did is as late as the capture, and two services may ask at once: of services a `unique` column decides,
   * and of both sides {@link writtenBack}.
   *
   * Without an index on the column in the events, the whole store is read; see docs/8-services.md.
   *
   * @param value as it is in JSON, without quotes
   * @param context as for {@link load}
   * @throws BanyanError `EVENT_REFUSED` when the root has no such column, or a rule transforms it
   */
  holders(
    column: keyof RowOf<Stream["root"]> & string,
    value: string,
    context?: RequestContext,
  ): Promise<readonly string[]>;

  /**
   * Waits until it is known whether the legacy rows have what was decided: while they are the only place
   * where both sides meet, their unique keys and other rules have the last word. `waiting` when it is not
   * known in time, because reverse sync is behind or does not run. In shadow it is `written` at once.
   *
   * @param decided what `create` or `execute` gave
   */
  writtenBack(
    context: RequestContext,
    decided: { readonly id: string; readonly version: number },
    options?: WrittenBackOptions,
  ): Promise<WrittenBack>;

  /** Tells, in shadow, of a refusal that needed no decision; live it does nothing. @param id undefined for a creation */
  refuse(context: RequestContext, id?: string): Promise<void>;

  /**
   * An id for a new aggregate, of a bucket over which this side has authority: a reserved one of the
   * legacy sequence for a whole number, else a random UUID. In shadow one that only the proposal has.
   *
   * @throws BanyanError `RESERVED_IDS_EMPTY` · `AUTHORITY_ELSEWHERE` · `EVENT_REFUSED` for a key of several columns
   */
  newId(context: RequestContext): Promise<string>;

  /** The same for a child row whose key is one column. @param role its name in the config */
  newRowId(context: RequestContext, role: keyof Stream["children"] & string): Promise<string>;
}

export function aggregatesOf<Stream extends StreamRef>(
  options: StreamWorkOptions,
): Aggregates<Stream> {
  const work = new StreamWork(options);
  const { mappings, streamType } = options;
  return {
    events: eventMakers(options.ref) as EventMakers<Stream>,
    become: (next) => ({ next }),
    load: (id, context) => work.load(id, context) as Promise<Loaded<StateOf<Stream>>>,
    execute: (context, id, decide, { command } = {}) =>
      work.decided(context, id, decide as Decide, command) as Promise<Decided<StateOf<Stream>>>,
    create: (context, decide, given = {}) =>
      work.create(context, decide as DecideNew, given) as Promise<Decided<StateOf<Stream>>>,
    holders: (column, value, context) =>
      holders(options, (id) => work.load(id, context), column, value),
    writtenBack: (context, decided, how = {}) => writtenBack(options, context, decided, how),
    refuse: (context, id) => work.refuse(context, id),
    newId: async (context) => newId(options, await mappings.of(streamType), context),
    newRowId: async (context, role) =>
      newRowId(options, await mappings.of(streamType), context, role),
  };
}

function eventMakers(ref: StreamRef): Readonly<Record<string, (data?: object) => object>> {
  return Object.fromEntries(
    Object.keys(ref.events).map((type) => [type, (data: object = {}) => ({ type, data })]),
  );
}
