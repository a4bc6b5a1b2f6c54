import { bytewise } from "./bytewise.ts";
import type { MemoryState } from "./state.ts";
import { SKEW_MS, STREAMS_PER_WRITE_MAX } from "../../src/store/dual-store.ts";
import type {
  CorrelatedStream,
  DualEvent,
  DualStore,
  FailedWrite,
  InputOfWrite,
  Proposal,
  SavedVerdict,
  ShadowWrite,
  VerdictCount,
  WaitingWrite,
} from "../../src/store/dual-store.ts";

interface Noted {
  readonly pipeline: string;
  readonly write: ShadowWrite;
  verdict: SavedVerdict | undefined;
  judgedAtMs: number;
}

interface Proposed {
  readonly pipeline: string;
  readonly correlationId: string;
  readonly proposal: Proposal;
  readonly atMs: number;
}

/** The verdicts' part of the memory store. */
export class MemoryDualStore implements DualStore {
  readonly #state: MemoryState;
  #noted: Noted[] = [];
  #proposed: Proposed[] = [];

  constructor(state: MemoryState) {
    this.#state = state;
  }

  /** What the proxy does when both sides have answered. */
  note(pipeline: string, writes: readonly ShadowWrite[]): void {
    for (const write of writes)
      this.#noted.push({ pipeline, write, verdict: undefined, judgedAtMs: 0 });
  }

  /** All that was proposed, in order. */
  get proposals(): readonly (Proposal & {
    readonly pipeline: string;
    readonly correlationId: string;
  })[] {
    return this.#proposed.map(({ pipeline, correlationId, proposal }) => ({
      pipeline,
      correlationId,
      ...structuredClone(proposal),
    }));
  }

  /** What a service in shadow does instead of an append. */
  propose(pipeline: string, correlationId: string, proposal: Proposal): void {
    this.#proposed.push({
      pipeline,
      correlationId,
      proposal: structuredClone(proposal),
      atMs: Date.now(),
    });
  }

  waiting(
    pipeline: string,
    { answeredBefore, after, limit, windowMs }: Parameters<DualStore["waiting"]>[1],
  ): Promise<readonly WaitingWrite[]> {
    const page = this.#of(pipeline)
      .filter(({ verdict, write }) => verdict === undefined && write.answeredAtMs <= answeredBefore)
      .map(({ write }) => write)
      .sort(inOrder)
      .filter((write) => after === undefined || inOrder(after, write) < 0)
      .slice(0, limit);
    return Promise.resolve(
      page.map((write) => ({
        write,
        proposals: this.#proposed
          .filter((p) => p.pipeline === pipeline && p.correlationId === write.correlationId)
          .map(({ proposal }) => structuredClone(proposal)),
        isParallel: this.#hasOther(
          pipeline,
          write,
          (other) => other.askedAtMs <= write.answeredAtMs && other.answeredAtMs >= write.askedAtMs,
        ),
        hasNeighbours: this.#hasOther(
          pipeline,
          write,
          (other) =>
            other.askedAtMs >= write.askedAtMs - windowMs &&
            other.askedAtMs <= write.answeredAtMs + windowMs,
        ),
      })),
    );
  }

  streamsOf(correlationIds: readonly string[]): Promise<readonly CorrelatedStream[]> {
    const found = correlationIds.flatMap((correlationId) => {
      const isOf = (event: { correlationId: string | undefined; origin: string }): boolean =>
        event.origin === "capture" && event.correlationId === correlationId;
      const streams = new Set(this.#state.log.filter(isOf).map(({ stream }) => stream));
      const first = [...streams].slice(0, STREAMS_PER_WRITE_MAX);
      return first.map((stream) => ({ correlationId, stream }));
    });
    return Promise.resolve(found);
  }

  heads(streams: readonly string[]): Promise<readonly number[]> {
    return Promise.resolve(streams.map((stream) => this.#state.streams.get(stream)?.length ?? 0));
  }

  events(pipeline: string, streams: readonly string[]): Promise<readonly DualEvent[]> {
    const ordered = [...streams].sort(bytewise);
    const asked = new Map(
      this.#of(pipeline).map(({ write }) => [write.correlationId, write.askedAtMs]),
    );
    const events = ordered.flatMap((stream) => this.#state.streams.get(stream) ?? []);
    return Promise.resolve(
      events.map((event) => ({
        ...structuredClone(event),
        recordedAtMs: Date.parse(event.recordedTime),
        askedAtMs: event.correlationId === undefined ? undefined : asked.get(event.correlationId),
      })),
    );
  }

  quarantined(pipeline: string, streams: readonly string[]): Promise<ReadonlySet<string>> {
    const parked = this.#state.parked.filter(
      (entry) =>
        entry.pipeline === pipeline &&
        entry.state === "pending" &&
        streams.includes(entry.record.stream),
    );
    return Promise.resolve(new Set(parked.map(({ record }) => record.stream)));
  }

  inputsMoved(pipeline: string, inputs: readonly InputOfWrite[]): Promise<ReadonlySet<string>> {
    const asked = new Map(
      this.#of(pipeline).map(({ write }) => [write.correlationId, write.askedAtMs]),
    );
    const moved = inputs.filter(({ correlationId, stream, version, askedAtMs, answeredAtMs }) =>
      (this.#state.streams.get(stream) ?? []).some(
        (event) =>
          (event.version > version || Date.parse(event.recordedTime) >= askedAtMs - SKEW_MS) &&
          event.correlationId !== correlationId &&
          (asked.get(event.correlationId ?? "") ?? 0) <= answeredAtMs,
      ),
    );
    return Promise.resolve(new Set(moved.map(({ correlationId }) => correlationId)));
  }

  save(pipeline: string, verdicts: readonly SavedVerdict[]): Promise<number> {
    let kept = 0;
    for (const verdict of verdicts) {
      const noted = this.#of(pipeline).find(
        ({ write }) => write.correlationId === verdict.correlationId,
      );
      if (noted === undefined || noted.verdict !== undefined) continue;
      noted.verdict = structuredClone(verdict);
      noted.judgedAtMs = Date.now();
      kept += 1;
    }
    return Promise.resolve(kept);
  }

  counts(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
  ): Promise<readonly VerdictCount[]> {
    const counts = new Map<string, VerdictCount>();
    for (const { write, verdict } of this.#of(pipeline)) {
      if (write.askedAtMs < since || !streamTypes.includes(write.streamType)) continue;
      const { streamType, route } = write;
      const kind = verdict?.verdict ?? "waiting";
      const reason = verdict?.reason ?? "";
      const id = JSON.stringify([streamType, route, kind, reason]);
      const count = (counts.get(id)?.count ?? 0) + 1;
      counts.set(id, { streamType, route, verdict: kind, reason, count });
    }
    const sorted = [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
    return Promise.resolve(sorted.map(([, count]) => count));
  }

  failures(
    pipeline: string,
    streamTypes: readonly string[],
    since: number,
    perRoute: number,
  ): Promise<readonly FailedWrite[]> {
    const seen = new Map<string, number>();
    const failed = this.#of(pipeline)
      .filter(({ write, verdict }) => {
        const isMeant = streamTypes.includes(write.streamType) && write.askedAtMs >= since;
        return verdict?.verdict === "fail" && isMeant;
      })
      .sort((a, b) => b.judgedAtMs - a.judgedAtMs)
      .filter(({ write }) => {
        const id = JSON.stringify([write.streamType, write.route]);
        seen.set(id, (seen.get(id) ?? 0) + 1);
        return seen.get(id)! <= perRoute;
      })
      .map(({ write, verdict }) => ({ write, reason: verdict!.reason, detail: verdict!.detail }));
    return Promise.resolve(failed);
  }

  purge(
    pipeline: string,
    streamTypes: readonly string[],
    before: number,
    limit: number,
  ): Promise<number> {
    const isOld = (noted: Noted): boolean =>
      noted.pipeline === pipeline &&
      (noted.verdict === undefined
        ? noted.write.answeredAtMs < before
        : noted.judgedAtMs < before && streamTypes.includes(noted.write.streamType));
    const old = new Set(this.#noted.filter(isOld).slice(0, limit));
    const proposed = new Set(
      this.#proposed.filter((p) => p.pipeline === pipeline && p.atMs < before).slice(0, limit),
    );
    this.#noted = this.#noted.filter((noted) => !old.has(noted));
    this.#proposed = this.#proposed.filter((p) => !proposed.has(p));
    return Promise.resolve(old.size + proposed.size);
  }

  #of(pipeline: string): readonly Noted[] {
    return this.#noted.filter((noted) => noted.pipeline === pipeline);
  }

  #hasOther(
    pipeline: string,
    write: ShadowWrite,
    isMeant: (other: ShadowWrite) => boolean,
  ): boolean {
    return this.#of(pipeline).some(
      ({ write: other }) =>
        write.stream !== undefined &&
        other.stream === write.stream &&
        other.correlationId !== write.correlationId &&
        isMeant(other),
    );
  }
}

function inOrder(a: ShadowWrite, b: ShadowWrite): number {
  return (
    a.answeredAtMs - b.answeredAtMs ||
    (a.correlationId < b.correlationId ? -1 : a.correlationId > b.correlationId ? 1 : 0)
  );
}
