import { setTimeout as sleep } from "node:timers/promises";
import { commandEventId } from "./command-events.ts";
import type { CompletedEvent } from "./complete-event.ts";
import { completeDrafts } from "./draft-events.ts";
import type { Draft, EventMakers, StateOf } from "./event-types.ts";
import { loadStream, type LoadedStream } from "./load-stream.ts";
import type { MappingCache } from "./mapping-cache.ts";
import { giveBack, newId, newRowId } from "./new-id.ts";
import type { RequestContext } from "./request-context.ts";
import type { StreamMapping } from "./stream-mapping.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { keyOfStream, keyText, streamId } from "../mapping/stream-id.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import type { NewEvent } from "../model/event.ts";
import type { StreamState } from "../projection/fold.ts";
import type { EventStore } from "../store/event-store.ts";

/** Decisions of one command at most: the last one's conflict is the caller's. */
const DECISIONS_MAX = 10;
/** Before a further decision, times the number of those before, and by chance less. */
const PAUSE_MS = 5;

/** An aggregate as its events tell it. */
export interface Loaded<State> {
  /** The root's key; of a key of several columns the text that follows the type in the stream's name. */
  readonly id: string;
  /** Of its last event; 0 when there is none. */
  readonly version: number;
  /** Undefined when the root row is not there: it never was, or is gone. */
  readonly state: State | undefined;
}

/** What a command led to. */
export interface Decided<State> extends Loaded<State> {
  /**
   * `stored`: its events are in the store. `repeated`: they were before, and nothing was decided.
   * `unchanged`: the decision was that nothing happens. `proposed`: in shadow, nothing was stored.
   */
  readonly outcome: "stored" | "repeated" | "unchanged" | "proposed";
  /** Completed, in order; none when repeated. */
  readonly events: readonly {
    readonly type: string;
    readonly data: Readonly<Record<string, unknown>>;
  }[];
}

export interface ExecuteOptions {
  /** Tells apart several commands for one aggregate in one request. */
  readonly command?: string;
}

export interface CreateOptions extends ExecuteOptions {
  /** A key that is not drawn, e.g. of an article; see `newId` otherwise. */
  readonly id?: string;
}

type Decision<Stream extends StreamRef> = readonly Draft<Stream>[];

/** The aggregates of one stream type. */
export interface Aggregates<Stream extends StreamRef> {
  /** Makes events by the names and columns of the config: `orders.events.OrderPaid({ paid_at: now })`. */
  readonly events: EventMakers<Stream>;

  /** In place of events: the rows as they are to be, and the config's rules say what happened. */
  become(next: StateOf<Stream> | undefined): Draft<Stream>;

  /** Folds the events of one aggregate. */
  load(id: string): Promise<Loaded<StateOf<Stream>>>;

  /**
   * Loads an aggregate, decides on it, and stores the events, if nothing came between; else loads and
   * decides anew, a few times. A command that was stored before is not decided again.
   *
   * @param decide gives the events; throws to refuse, which in shadow is told as a proposal without events
   * @throws BanyanError `AUTHORITY_ELSEWHERE` · `STREAM_VERSION_CONFLICT` · `EVENT_REFUSED`
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

export interface AggregatesOptions {
  readonly store: EventStore;
  readonly pipeline: string;
  readonly streamType: string;
  readonly ref: StreamRef;
  readonly mappings: MappingCache;
}

export function aggregatesOf<Stream extends StreamRef>(
  options: AggregatesOptions,
): Aggregates<Stream> {
  const work = new StreamWork(options);
  const { mappings, streamType } = options;
  return {
    events: eventMakers(options.ref) as EventMakers<Stream>,
    become: (next) => ({ next }),
    load: (id) => work.load(id) as Promise<Loaded<StateOf<Stream>>>,
    execute: (context, id, decide, { command } = {}) =>
      work.decided(context, id, decide as Decide, command) as Promise<Decided<StateOf<Stream>>>,
    create: (context, decide, given = {}) =>
      work.create(context, decide as DecideNew, given) as Promise<Decided<StateOf<Stream>>>,
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

type Row = Readonly<Record<string, unknown>>;
type Decide = (
  state: Row | undefined,
  version: number,
) => Decision<StreamRef> | Promise<Decision<StreamRef>>;
type DecideNew = (id: string) => Decision<StreamRef> | Promise<Decision<StreamRef>>;

/** One command on its way. */
interface Command {
  readonly context: RequestContext;
  readonly id: string;
  readonly stream: string;
  readonly decide: Decide;
  readonly commandId: string;
  /** See {@link commandEventId}. */
  readonly subject: string;
  /** The only version that it may be decided on. */
  readonly only: number | undefined;
}

class StreamWork {
  readonly #options: AggregatesOptions;

  constructor(options: AggregatesOptions) {
    this.#options = options;
  }

  async load(id: string): Promise<Loaded<Row>> {
    const mapping = await this.#mapping();
    const { version, state } = await this.#load(streamOf(mapping, id));
    return { id, version, state: this.#json(mapping, state) };
  }

  async create(
    context: RequestContext,
    decide: DecideNew,
    { id, command }: CreateOptions,
  ): Promise<Decided<Row>> {
    const { pipeline, streamType, store } = this.#options;
    const mapping = await this.#mapping();
    const commandId = commandIdOf(context, command);
    const firstId = commandEventId(pipeline, streamType, commandId, 0);
    const before =
      context.mode === "live" ? await store.services.streamOfEvent(firstId) : undefined;
    // Of a command that was stored already the id is known.
    const known = (before && idOf(mapping, before)) ?? id;
    const key = known ?? (await newId(this.#options, mapping, context));
    const isUnused = async (): Promise<void> => {
      if (known === undefined) await giveBack(this.#options, mapping, context, key);
    };
    const created = await this.#run({
      context,
      id: key,
      stream: streamOf(mapping, key),
      decide: async () => {
        try {
          return await decide(key);
        } catch (error) {
          await isUnused();
          throw error;
        }
      },
      commandId,
      subject: streamType,
      only: 0,
    });
    if (created.outcome === "unchanged" || created.id !== key) await isUnused();
    return created;
  }

  async decided(
    context: RequestContext,
    id: string,
    decide: Decide,
    command: string | undefined,
  ): Promise<Decided<Row>> {
    const stream = streamOf(await this.#mapping(), id);
    const commandId = commandIdOf(context, command);
    return await this.#run({
      context,
      id,
      stream,
      decide,
      commandId,
      subject: stream,
      only: undefined,
    });
  }

  async refuse(context: RequestContext, id: string | undefined): Promise<void> {
    if (context.mode === "live") return;
    const mapping = await this.#mapping();
    const key = id ?? (await newId(this.#options, mapping, context));
    const stream = streamOf(mapping, key);
    const { version } = await this.#load(stream);
    await this.#propose(context, stream, version, []);
  }

  async #run(command: Command): Promise<Decided<Row>> {
    const { context } = command;
    const reset = context.pending.begin();
    try {
      for (let decision = 1; ; decision++) {
        context.signal?.throwIfAborted();
        reset();
        try {
          const result = await this.#attempt(command);
          if (result.outcome !== "stored") context.pending.notStored();
          else await context.pending.stored();
          return result;
        } catch (error) {
          const isOvertaken =
            error instanceof BanyanError && error.code === "STREAM_VERSION_CONFLICT";
          if (!isOvertaken || command.only !== undefined || decision >= DECISIONS_MAX) throw error;
          await pause(decision, context.signal);
        }
      }
    } catch (error) {
      context.pending.notStored();
      throw error;
    }
  }

  async #attempt(command: Command): Promise<Decided<Row>> {
    const { context, id, stream, subject, commandId } = command;
    const { pipeline, store } = this.#options;
    const loaded = await this.#load(stream, command);
    if (loaded.storedBefore !== undefined)
      return await this.#repeated(id, stream, loaded.storedBefore);
    const mapping = await this.#mapping();
    const events = await this.#decide(command, mapping, loaded);
    const state = this.#json(mapping, loaded.state);
    const { version } = loaded;
    if (context.mode === "shadow") {
      await this.#propose(context, stream, version, events);
      return { outcome: "proposed", id, version, state, events };
    }
    if (events.length === 0) return { outcome: "unchanged", id, version, state, events };
    const appended = await store.services.append({
      pipeline,
      stream,
      expected: version,
      mappingVersion: mapping.version,
      events: events.map((event, n) =>
        newEvent(context, event, commandEventId(pipeline, subject, commandId, n)),
      ),
    });
    if (appended.outcome === "stored") {
      return { outcome: "stored", id, version: appended.lastVersion, state, events };
    }
    return await this.#first(command);
  }

  /** The same command was made twice at once, and the other was quicker; a creation under its own id. */
  async #first(command: Command): Promise<Decided<Row>> {
    const { pipeline, store } = this.#options;
    const firstId = commandEventId(pipeline, command.subject, command.commandId, 0);
    const stream = (await store.services.streamOfEvent(firstId)) ?? command.stream;
    const { storedBefore } = await this.#load(stream, command);
    invariant(storedBefore !== undefined, `${stream} has events of a command, but not its first`);
    return await this.#repeated(idOf(await this.#mapping(), stream), stream, storedBefore);
  }

  /** Completed events; the loaded state is then the one after them. */
  async #decide(
    command: Command,
    mapping: StreamMapping,
    loaded: LoadedStream,
  ): Promise<readonly CompletedEvent[]> {
    const { context, stream, decide, only } = command;
    const { version, state } = loaded;
    if (only !== undefined && version !== only) {
      throw new BanyanError("STREAM_VERSION_CONFLICT", `${stream} exists already`, {
        detail: { stream, current: version },
      });
    }
    try {
      const drafts = await decide(this.#json(mapping, state), version);
      return completeDrafts(mapping, stream, version, state, drafts);
    } catch (error) {
      // What this service would have refused is compared too.
      const isOurs = error instanceof BanyanError && error.code !== "EVENT_REFUSED";
      if (context.mode === "shadow" && !isOurs) await this.#propose(context, stream, version, []);
      throw error;
    }
  }

  async #repeated(id: string, stream: string, until: number): Promise<Decided<Row>> {
    const { version, state } = await this.#load(stream, undefined, until);
    return {
      outcome: "repeated",
      id,
      version,
      state: this.#json(await this.#mapping(), state),
      events: [],
    };
  }

  #load(stream: string, command?: Command, until?: number): Promise<LoadedStream> {
    const { store, pipeline, mappings, streamType } = this.#options;
    return loadStream(
      store,
      stream,
      () => mappings.of(streamType),
      (version) => mappings.knowing(streamType, version),
      {
        ...(until !== undefined && { until }),
        ...(command && { command: { pipeline, subject: command.subject, id: command.commandId } }),
        signal: command?.context.signal,
      },
    );
  }

  #mapping(): Promise<StreamMapping> {
    return this.#options.mappings.of(this.#options.streamType);
  }

  #json({ definition, folder }: StreamMapping, state: StreamState): Row | undefined {
    const hasRoot = (state.get(definition.root)?.size ?? 0) > 0;
    return hasRoot ? folder.toJson(this.#options.streamType, state) : undefined;
  }

  async #propose(
    { correlationId }: RequestContext,
    stream: string,
    decidedOn: number,
    events: readonly CompletedEvent[],
  ): Promise<void> {
    const { store, pipeline } = this.#options;
    const told = events.map(({ type, data }) => ({ type, data }));
    await store.services.propose({ pipeline, correlationId, stream, decidedOn, events: told });
  }
}

async function pause(decision: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(Math.random() * PAUSE_MS * decision, undefined, signal && { signal });
}

/** Escaped as a stream's name has it; of several columns the caller's text is that already. */
function streamOf({ type, definition }: StreamMapping, id: string): string {
  const isPlain = definition.roles[definition.root]!.key.length === 1;
  return streamId(type, isPlain ? keyText([id], [0]) : id);
}

function idOf({ type, definition }: StreamMapping, stream: string): string {
  const isPlain = definition.roles[definition.root]!.key.length === 1;
  return isPlain ? (keyOfStream(stream)[0] ?? "") : stream.slice(type.length + 1);
}

function commandIdOf({ commandId }: RequestContext, command: string | undefined): string {
  return command === undefined ? commandId : `${commandId}/${command}`;
}

function newEvent(
  context: RequestContext,
  { type, data, timeUs }: CompletedEvent,
  id: string,
): NewEvent {
  const { correlationId, causationId, actor, metadata } = context;
  return {
    id,
    type,
    data,
    correlationId,
    ...(timeUs !== undefined && { time: isoTime(timeUs) }),
    ...(causationId !== undefined && { causationId }),
    ...(actor !== undefined && { actor }),
    ...(metadata !== undefined && { metadata }),
  };
}

/** @param us microseconds since 1970 */
function isoTime(us: number): string {
  const second = Math.floor(us / 1_000_000);
  const micros = String(us - second * 1_000_000).padStart(6, "0");
  return `${new Date(second * 1000).toISOString().slice(0, -5)}.${micros}Z`;
}
