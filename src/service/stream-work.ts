import { setTimeout as sleep } from "node:timers/promises";
import { assertColumns, claimsOf, valueTaken } from "./claims.ts";
import { commandEventId } from "./command-events.ts";
import type { CompletedEvent } from "./complete-event.ts";
import type { Decided, Loaded } from "./decided.ts";
import { completeDrafts } from "./draft-events.ts";
import type { Draft } from "./event-types.ts";
import { loadStream, type LoadedStream } from "./load-stream.ts";
import type { MappingCache } from "./mapping-cache.ts";
import { giveBack, newId } from "./new-id.ts";
import type { RequestContext } from "./request-context.ts";
import type { StreamMapping } from "./stream-mapping.ts";
import type { StreamRef } from "../mapping/rules.ts";
import { keyOfStream, keyText, streamId } from "../mapping/stream-id.ts";
import { BanyanError, invariant } from "../model/errors.ts";
import type { NewEvent } from "../model/event.ts";
import type { StreamState } from "../projection/fold.ts";
import { textOf } from "../store/append-rules.ts";
import type { EventStore } from "../store/event-store.ts";
import type { HeldClaim, ServiceAppend, ServiceAppended } from "../store/service-store.ts";

/** Decisions of one command at most: the last one's conflict is the caller's. */
const DECISIONS_MAX = 10;
/** Other aggregates of one request whose versions are told with its proposals. */
const INPUTS_MAX = 200;
/** Claims of aggregates that do not have the value any more, which one append releases. */
const RELEASES_MAX = 20;
/** Before a further decision, times the number of those before, and by chance less. */
const PAUSE_MS = 5;

export interface StreamWorkOptions {
  readonly store: EventStore;
  readonly pipeline: string;
  readonly streamType: string;
  readonly ref: StreamRef;
  readonly mappings: MappingCache;
  /** Columns of the root whose value only one aggregate may have. */
  readonly unique: readonly string[];
}

export interface ExecuteOptions {
  /** Tells apart several commands for one aggregate in one request. */
  readonly command?: string;
}

export interface CreateOptions extends ExecuteOptions {
  /** A key that is not drawn, e.g. of an article; see `newId` otherwise. */
  readonly id?: string;
}

export type Decision<Stream extends StreamRef> = readonly Draft<Stream>[];

type Row = Readonly<Record<string, unknown>>;
export type Decide = (
  state: Row | undefined,
  version: number,
) => Decision<StreamRef> | Promise<Decision<StreamRef>>;
export type DecideNew = (id: string) => Decision<StreamRef> | Promise<Decision<StreamRef>>;

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

/** What is done with the streams of one type, whatever their rows are. */
export class StreamWork {
  readonly #options: StreamWorkOptions;

  constructor(options: StreamWorkOptions) {
    this.#options = options;
  }

  async load(id: string, context: RequestContext | undefined): Promise<Loaded<Row>> {
    const mapping = await this.#mapping();
    const stream = streamOf(mapping, id);
    const { version, state } = await this.#load(stream);
    const { inputs } = context ?? {};
    if (inputs !== undefined && inputs.size < INPUTS_MAX && !inputs.has(stream))
      inputs.set(stream, version);
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
    const creation: Command = {
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
    };
    const created = await this.#run(creation).catch(async (error: unknown) => {
      if (error instanceof BanyanError && error.code === "VALUE_TAKEN") await isUnused();
      throw error;
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
    const { pending } = command.context;
    const reset = pending.begin();
    let result: Decided<Row>;
    try {
      result = await this.#untilNotOvertaken(command, reset);
    } catch (error) {
      pending.notStored();
      throw error;
    }
    if (result.outcome !== "stored") pending.notStored();
    // Nothing that an effect throws leads to another decision: this one is stored.
    else await pending.stored();
    return result;
  }

  async #untilNotOvertaken(command: Command, reset: () => void): Promise<Decided<Row>> {
    const { context, only } = command;
    for (let decision = 1; ; decision++) {
      context.signal?.throwIfAborted();
      reset();
      try {
        return await this.#attempt(command);
      } catch (error) {
        const isOvertaken =
          error instanceof BanyanError && error.code === "STREAM_VERSION_CONFLICT";
        if (!isOvertaken || only !== undefined || decision >= DECISIONS_MAX) throw error;
        await pause(decision, context.signal);
      }
    }
  }

  async #attempt(command: Command): Promise<Decided<Row>> {
    const { context, id, stream, subject, commandId } = command;
    const { pipeline, unique } = this.#options;
    const loaded = await this.#load(stream, command);
    if (loaded.storedBefore !== undefined)
      return await this.#repeated(id, stream, loaded.storedBefore);
    const mapping = await this.#mapping();
    assertColumns(mapping, unique);
    const before = unique.length === 0 ? undefined : this.#json(mapping, loaded.state);
    const events = await this.#decide(command, mapping, loaded);
    const state = this.#json(mapping, loaded.state);
    const { version } = loaded;
    if (context.mode === "shadow") {
      await this.#propose(context, stream, version, events);
      return { outcome: "proposed", id, version, state, events };
    }
    if (events.length === 0) return { outcome: "unchanged", id, version, state, events };
    const appended = await this.#append(mapping, {
      pipeline,
      stream,
      expected: version,
      mappingVersion: mapping.version,
      claims: claimsOf(unique, before, state),
      events: events.map((event, n) =>
        newEvent(context, event, commandEventId(pipeline, subject, commandId, n)),
      ),
    });
    if (appended.outcome === "stored") {
      return { outcome: "stored", id, version: appended.lastVersion, state, events };
    }
    return await this.#first(command);
  }

  /** While legacy had authority an aggregate may have lost what it had claimed: that is released. */
  async #append(
    mapping: StreamMapping,
    request: ServiceAppend,
  ): Promise<Exclude<ServiceAppended, { readonly outcome: "taken" }>> {
    const { services } = this.#options.store;
    for (let release = 0; ; release++) {
      const appended = await services.append(request);
      if (appended.outcome !== "taken") return appended;
      const { by } = appended;
      if (release >= RELEASES_MAX || (await this.#has(mapping, by, request)))
        throw valueTaken(request.stream, by);
      await services.release(request.pipeline, by);
    }
  }

  async #has(
    mapping: StreamMapping,
    { stream, column }: HeldClaim,
    { claims }: ServiceAppend,
  ): Promise<boolean> {
    const { state } = await this.#load(stream);
    const wanted = claims?.find((claim) => claim.column === column)?.value;
    return textOf(this.#json(mapping, state)?.[column]) === wanted;
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
    { correlationId, inputs: seen }: RequestContext,
    stream: string,
    decidedOn: number,
    events: readonly CompletedEvent[],
  ): Promise<void> {
    const { store, pipeline } = this.#options;
    const told = events.map(({ type, data }) => ({ type, data }));
    const inputs = Object.fromEntries([...seen].filter(([other]) => other !== stream));
    await store.services.propose({
      pipeline,
      correlationId,
      stream,
      decidedOn,
      events: told,
      ...(seen.size > 0 && { inputs }),
    });
  }
}

async function pause(decision: number, signal: AbortSignal | undefined): Promise<void> {
  await sleep(Math.random() * PAUSE_MS * decision, undefined, signal && { signal });
}

/** Escaped as a stream's name has it; of several columns the caller's text is that already. */
export function streamOf({ type, definition }: StreamMapping, id: string): string {
  const isPlain = definition.roles[definition.root]!.key.length === 1;
  return streamId(type, isPlain ? keyText([id], [0]) : id);
}

export function idOf({ type, definition }: StreamMapping, stream: string): string {
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
