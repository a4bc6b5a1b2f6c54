import type { MemoryState } from "./state.ts";
import { BanyanError } from "../../src/model/errors.ts";
import type { FeedCursor, FoldEvent } from "../../src/store/event-store.ts";
import type {
  NativePage,
  ReservedType,
  ReverseConflict,
  ReverseHold,
  ReverseProgress,
  ReverseStatus,
  ReverseStore,
  StreamRange,
  WrittenBack,
} from "../../src/store/reverse-store.ts";

interface Entry {
  epoch: number;
  cursor: FeedCursor | undefined;
  applied: number;
  updatedAt: string;
  readonly conflicts: Map<string, ConflictEntry>;
}

type ConflictEntry = ReverseConflict & {
  readonly foundAt: string;
  readonly triedMs: number;
  readonly isAsked: boolean;
};

/** The way back of a memory store. It has no rollout, so no types that are complete or whose ids are reserved. */
export class MemoryReverseStore implements ReverseStore {
  readonly #state: MemoryState;
  readonly #entries = new Map<string, Entry>();
  readonly #ids = new Map<string, Set<string>>();

  constructor(state: MemoryState) {
    this.#state = state;
  }

  takeOver(pipeline: string): Promise<ReverseHold> {
    const known = this.#entries.get(pipeline);
    const entry: Entry = known ?? {
      epoch: 0,
      cursor: undefined,
      applied: 0,
      updatedAt: "",
      conflicts: new Map(),
    };
    entry.epoch += 1;
    entry.updatedAt = new Date().toISOString();
    this.#entries.set(pipeline, entry);
    return Promise.resolve({ epoch: entry.epoch, cursor: entry.cursor });
  }

  natives(after: FeedCursor | undefined, limit: number): Promise<NativePage> {
    const natives: { stream: string; version: number }[] = [];
    let at = Number(after ?? 0);
    for (; at < this.#state.log.length && natives.length < limit; at++) {
      const { origin, stream, version } = this.#state.log[at]!;
      if (origin === "native") natives.push({ stream, version });
    }
    const next = at === Number(after ?? 0) ? after : (String(at) as FeedCursor);
    return Promise.resolve({ natives, next, isEnd: natives.length < limit });
  }

  completed(): Promise<ReadonlySet<string>> {
    return Promise.resolve(new Set());
  }

  async *readStreams(
    ranges: readonly StreamRange[],
  ): AsyncGenerator<readonly FoldEvent[], void, void> {
    for (const { stream, fromVersion, toVersion } of ranges) {
      const events = this.#state.streams.get(stream) ?? [];
      const wanted = events.filter(({ version }) => version >= fromVersion && version <= toVersion);
      if (wanted.length > 0) yield structuredClone(wanted);
    }
  }

  save(pipeline: string, epoch: number, progress: ReverseProgress): Promise<void> {
    const entry = this.#entries.get(pipeline);
    if (entry?.epoch !== epoch) {
      return Promise.reject(
        new BanyanError("PIPELINE_FENCED", `another process writes events of ${pipeline} back`),
      );
    }
    const { cursor, applied = 0, settled = [], conflicts = [] } = progress;
    entry.cursor = cursor ?? entry.cursor;
    entry.applied += applied;
    entry.updatedAt = new Date().toISOString();
    for (const stream of settled) entry.conflicts.delete(stream);
    for (const conflict of conflicts) {
      const foundAt = entry.conflicts.get(conflict.stream)?.foundAt ?? entry.updatedAt;
      const tried = { foundAt, triedMs: Date.now(), isAsked: false };
      entry.conflicts.set(conflict.stream, { ...structuredClone(conflict), ...tried });
    }
    return Promise.resolve();
  }

  conflictsToTry(pipeline: string, idleSeconds: number, limit: number): Promise<readonly string[]> {
    const untilMs = Date.now() - idleSeconds * 1000;
    const all = [...(this.#entries.get(pipeline)?.conflicts.values() ?? [])];
    const due = all.filter(({ isAsked, triedMs }) => isAsked || triedMs < untilMs);
    due.sort((a, b) => a.triedMs - b.triedMs);
    return Promise.resolve(due.slice(0, limit).map(({ stream }) => stream));
  }

  retryConflicts(pipeline: string, stream?: string): Promise<number> {
    const conflicts = this.#entries.get(pipeline)?.conflicts;
    const asked = [...(conflicts?.values() ?? [])].filter(
      (conflict) => stream === undefined || conflict.stream === stream,
    );
    for (const one of asked) conflicts!.set(one.stream, { ...one, isAsked: true });
    return Promise.resolve(asked.length);
  }

  outcomeOf(pipeline: string, stream: string, version: number): Promise<WrittenBack> {
    const entry = this.#entries.get(pipeline);
    const conflict = entry?.conflicts.get(stream);
    if (conflict !== undefined && conflict.version <= version)
      return Promise.resolve({ outcome: "conflict", reason: conflict.reason });
    const at = this.#state.log.findIndex(
      (event) => event.stream === stream && event.version === version,
    );
    const isPassed = at >= 0 && at < Number(entry?.cursor ?? 0);
    return Promise.resolve({ outcome: isPassed ? "written" : "waiting" });
  }

  status(pipeline: string, samples: number): Promise<ReverseStatus | undefined> {
    const entry = this.#entries.get(pipeline);
    if (entry === undefined) return Promise.resolve(undefined);
    const all = [...entry.conflicts.values()];
    const oldest = this.#state.log[Number(entry.cursor ?? 0)];
    const ageMs = oldest === undefined ? 0 : Date.now() - Date.parse(oldest.recordedTime);
    return Promise.resolve({
      applied: entry.applied,
      lagSeconds: Math.max(0, ageMs / 1000),
      cursor: entry.cursor,
      conflicts: all.length,
      samples: all
        .slice(0, samples)
        .map(({ triedMs: _tried, isAsked: _asked, ...conflict }) => conflict),
      updatedAt: entry.updatedAt,
    });
  }

  reservations(): Promise<readonly ReservedType[]> {
    return Promise.resolve([]);
  }

  reserveIds(pipeline: string, streamType: string, ids: readonly string[]): Promise<void> {
    const name = `${pipeline} ${streamType}`;
    this.#ids.set(name, new Set([...(this.#ids.get(name) ?? []), ...ids]));
    return Promise.resolve();
  }

  idsAtHand(pipeline: string, streamType: string): Promise<number> {
    return Promise.resolve(this.#ids.get(`${pipeline} ${streamType}`)?.size ?? 0);
  }
}
