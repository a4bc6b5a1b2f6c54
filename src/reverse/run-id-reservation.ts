import { newestDefinition } from "./apply-natives.ts";
import type { LegacyIds } from "./legacy-ids.ts";
import type { BanyanError } from "../model/errors.ts";
import type { StreamDefinition } from "../model/mapping-definition.ts";
import { failpoint } from "../runtime/failpoint.ts";
import { runWithRetry } from "../runtime/loop.ts";
import type { EventStore } from "../store/event-store.ts";
import type { ReservedType } from "../store/reverse-store.ts";
import { pause } from "../runtime/pause.ts";

export interface ReservationOptions {
  /** Name of the migration. */
  readonly pipeline: string;
  readonly store: EventStore;
  /** Opens nothing yet; closed here. */
  readonly openIds: () => LegacyIds;
  readonly onRetry?: (event: { attempt: number; delayMs: number; error: BanyanError }) => void;
}

/** Between two looks at what is left. */
const LOOK_MS = 500;
/** Ids are taken when fewer of use than these are left, and until there are five times as many. */
const IDS_MIN = 200;
const IDS_MAX = 1_000;
/** Of a small share, of which only few creations come to the new service, that much less. */
const IDS_SMALL_SHARE_MIN = 20;
/** Ids taken from one sequence between two looks, of use or not. */
const IDS_PER_ROUND_MAX = 10_000;
/** Ids kept for a share that is still to grow; beyond it those of no use now are let go. */
const IDS_KEPT_MAX = 20_000;
const BUCKETS = 10_000;
/** How long what the mapping says of a type's keys is taken for true. */
const DEFINITION_MS_MAX = 30_000;

/**
 * Keeps ids at hand for stream types whose aggregates the new service creates: taken from the sequence of
 * the root's key in the legacy database, so that legacy never gives the same. Until the signal aborts.
 *
 * A key that is not one integer column filled by a sequence is passed over. Child tables with such a key
 * get ids under `<stream type>/<role>`, whose bucket is 0.
 *
 * @throws BanyanError `REVERSE_NOT_READY` and whatever else is for a person to mend
 */
export async function runIdReservation(
  options: ReservationOptions,
  signal: AbortSignal,
): Promise<void> {
  await runWithRetry({
    signal,
    backoffMsMin: 250,
    backoffMsMax: 15_000,
    steadyMs: 60_000,
    onRetry: (event) => options.onRetry?.(event),
    attempt: async () => {
      const ids = options.openIds();
      try {
        const run = new Reservation(options, ids);
        while (!signal.aborted) {
          await run.round(signal);
          await pause(LOOK_MS, signal);
        }
      } finally {
        await ids.close();
      }
    },
  });
}

class Reservation {
  readonly #options: ReservationOptions;
  readonly #ids: LegacyIds;
  /** Names whose column no sequence fills. */
  readonly #passedOver = new Set<string>();
  #definitions = new Map<string, StreamDefinition | undefined>();
  #readMs = -Infinity;

  constructor(options: ReservationOptions, ids: LegacyIds) {
    this.#options = options;
    this.#ids = ids;
  }

  async round(signal: AbortSignal): Promise<void> {
    const { pipeline, store } = this.#options;
    const types = await store.reverse.reservations(pipeline);
    await this.#learn(types);
    for (const type of types) {
      const definition = this.#definitions.get(type.streamType);
      for (const key of definition === undefined ? [] : keysOf(type.streamType, definition)) {
        signal.throwIfAborted();
        if (!this.#passedOver.has(key.name)) await this.#fill(type, key);
      }
    }
  }

  async #learn(types: readonly ReservedType[]): Promise<void> {
    const isOld = performance.now() - this.#readMs > DEFINITION_MS_MAX;
    if (!isOld && types.every(({ streamType }) => this.#definitions.has(streamType))) return;
    const mappings = await this.#options.store.mappings();
    this.#definitions = new Map(
      types.map(({ streamType }) => [streamType, newestDefinition(mappings, streamType)]),
    );
    this.#readMs = performance.now();
  }

  async #fill({ streamType, share, salt, usable, kept }: ReservedType, key: Key): Promise<void> {
    const { pipeline, store } = this.#options;
    const isRoot = key.name === streamType;
    const here = isRoot ? usable : await store.reverse.idsAtHand(pipeline, key.name, 1);
    const part = isRoot ? share / BUCKETS : 1;
    const low = Math.min(IDS_MIN, Math.max(IDS_SMALL_SHARE_MIN, Math.ceil(IDS_MAX * part)));
    if (here >= low) return;
    const wanted = low * (IDS_MAX / IDS_MIN) - here;
    const count = Math.min(IDS_PER_ROUND_MAX, Math.ceil(wanted / part));
    const ids = await this.#ids.take(key.table, key.column, count);
    if (ids === undefined) {
      this.#passedOver.add(key.name);
      return;
    }
    failpoint("reverse-ids-taken");
    const room = isRoot ? Math.max(0, IDS_KEPT_MAX - kept) : 0;
    const of = isRoot ? { salt, below: share, room } : { below: BUCKETS, room };
    await store.reverse.reserveIds(pipeline, key.name, ids, of);
  }
}

interface Key {
  /** What its ids are reserved under. */
  readonly name: string;
  readonly table: string;
  readonly column: string;
}

function keysOf(streamType: string, { root, roles }: StreamDefinition): Key[] {
  return Object.entries(roles).flatMap(([role, { table, key, parent = {} }]) => {
    const [column, ...more] = key;
    // What refers to the root has the root's id.
    if (column === undefined || more.length > 0 || Object.hasOwn(parent, column)) return [];
    return [{ name: role === root ? streamType : `${streamType}/${role}`, table, column }];
  });
}
