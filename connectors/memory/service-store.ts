import { randomUUID } from "node:crypto";
import type { MemoryDualStore } from "./dual-store.ts";
import { nativeEvent } from "./native-event.ts";
import { addEvents, isoMicros, type MemoryState } from "./state.ts";
import { bucketOf } from "../../src/rollout/bucket.ts";
import { UNMOVED, type Rollout } from "../../src/rollout/stage.ts";
import {
  assertAppendable,
  authorityElsewhere,
  expectedRange,
  streamParts,
  textOf,
  versionConflict,
} from "../../src/store/append-rules.ts";
import type {
  Claim,
  HeldClaim,
  IdRequest,
  Proposal,
  ServiceAppend,
  ServiceAppended,
  ServiceStore,
} from "../../src/store/service-store.ts";

const DRAWS_MAX = 300_000;

interface MemoryClaim {
  readonly pipeline: string;
  readonly streamType: string;
  readonly value: string;
  readonly by: HeldClaim;
}

/** The part of a memory store that services use; rollouts and reserved ids are what a test puts there. */
export class MemoryServiceStore implements ServiceStore {
  readonly #state: MemoryState;
  readonly #dual: MemoryDualStore;
  /** By pipeline and stream type. */
  readonly #rollouts = new Map<string, Rollout>();
  /** By pipeline and stream type, or stream type and role. */
  readonly #reserved = new Map<string, { readonly id: string; readonly bucket: number }[]>();

  readonly #claims: MemoryClaim[] = [];

  /** @param dual where proposals go, to be judged */
  constructor(state: MemoryState, dual: MemoryDualStore) {
    this.#state = state;
    this.#dual = dual;
  }

  put(pipeline: string, streamType: string, rollout: Rollout): void {
    this.#rollouts.set(`${pipeline}\0${streamType}`, rollout);
  }

  /** @param bucket that of the id when absent */
  reserve(pipeline: string, name: string, id: string, bucket?: number): void {
    const { salt } = this.#rollout(pipeline, name.split("/")[0]!);
    const place = `${pipeline}\0${name}`;
    const ids = this.#reserved.get(place) ?? [];
    ids.push({ id, bucket: bucket ?? bucketOf(id, salt) });
    this.#reserved.set(place, ids);
  }

  async append(request: ServiceAppend): Promise<ServiceAppended> {
    const { pipeline, stream, events, mappingVersion } = request;
    assertAppendable(stream, events);
    const [expected] = expectedRange(request.expected);
    if (events.some(({ id }) => this.#state.ids.has(id.toLowerCase()))) return { outcome: "known" };
    const [streamType, key] = streamParts(stream);
    const rollout = this.#rollout(pipeline, streamType);
    if (!hasMoved(rollout, bucketOf(key, rollout.salt))) throw authorityElsewhere(stream);
    const current = this.#state.streams.get(stream)?.length ?? 0;
    if (current !== expected) throw versionConflict(stream, current, expected);
    const { claims = [] } = request;
    const taken = this.#claims.find(
      (held) =>
        held.pipeline === pipeline &&
        held.streamType === streamType &&
        held.by.stream !== stream &&
        claims.some(({ column, value }) => column === held.by.column && value === held.value),
    );
    if (taken !== undefined) return { outcome: "taken", by: taken.by };
    this.#claim(pipeline, streamType, stream, current + events.length, claims);
    const now = isoMicros(Date.now() * 1000);
    addEvents(
      this.#state,
      events.map((event, i) => ({
        ...nativeEvent(event, stream, current + i + 1, now),
        mappingVersion,
      })),
    );
    return { outcome: "stored", firstVersion: current + 1, lastVersion: current + events.length };
  }

  #claim(
    pipeline: string,
    streamType: string,
    stream: string,
    version: number,
    claims: readonly Claim[],
  ): void {
    for (const { column, value } of claims) {
      this.#drop(pipeline, (by) => by.stream === stream && by.column === column);
      const by = { stream, column, version };
      if (value !== undefined) this.#claims.push({ pipeline, streamType, value, by });
    }
  }

  async release(pipeline: string, { stream, column, version }: HeldClaim): Promise<void> {
    this.#drop(
      pipeline,
      (by) => by.stream === stream && by.column === column && by.version === version,
    );
  }

  #drop(pipeline: string, isMeant: (by: HeldClaim) => boolean): void {
    const at = this.#claims.findIndex((held) => held.pipeline === pipeline && isMeant(held.by));
    if (at >= 0) this.#claims.splice(at, 1);
  }

  propose({ pipeline, correlationId, ...proposal }: Proposal): Promise<void> {
    this.#dual.propose(pipeline, correlationId, proposal);
    return Promise.resolve();
  }

  async takeId({ pipeline, streamType, form, role }: IdRequest): Promise<string | undefined> {
    const rollout = this.#rollout(pipeline, streamType);
    if (!hasMoved(rollout, 0)) throw authorityElsewhere(`every ${streamType}`);
    if (form === "uuid") return drawn(rollout);
    const name = role === undefined ? streamType : `${streamType}/${role}`;
    const ids = this.#reserved.get(`${pipeline}\0${name}`) ?? [];
    const at = ids.findIndex(({ bucket }) => hasMoved(rollout, bucket));
    return at < 0 ? undefined : ids.splice(at, 1)[0]!.id;
  }

  async giveBack({ pipeline, streamType, form, role }: IdRequest, id: string): Promise<void> {
    if (form === "uuid") return;
    if (role === undefined) this.reserve(pipeline, streamType, id);
    else this.reserve(pipeline, `${streamType}/${role}`, id, 0);
  }

  streamsNaming(
    streamType: string,
    column: string,
    value: string,
    limit: number,
  ): Promise<readonly string[]> {
    const naming = this.#state.log.filter(
      ({ stream, data }) => streamParts(stream)[0] === streamType && textOf(data[column]) === value,
    );
    const streams = [...new Set(naming.map(({ stream }) => stream))];
    return Promise.resolve(streams.slice(0, limit));
  }

  streamOfEvent(eventId: string): Promise<string | undefined> {
    return Promise.resolve(this.#state.ids.get(eventId)?.stream);
  }

  #rollout(pipeline: string, streamType: string): Rollout {
    return this.#rollouts.get(`${pipeline}\0${streamType}`) ?? UNMOVED;
  }
}

function hasMoved({ stage, share }: Rollout, bucket: number): boolean {
  if (stage === "canary") return bucket < share;
  return stage === "new" || stage === "complete";
}

function drawn(rollout: Rollout): string | undefined {
  for (let draw = 0; draw < DRAWS_MAX; draw++) {
    const id = randomUUID();
    if (hasMoved(rollout, bucketOf(id, rollout.salt))) return id;
  }
  return undefined;
}
