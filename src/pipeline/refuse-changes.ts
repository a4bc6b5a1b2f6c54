import type { Changes } from "./settle-changes.ts";
import { streamsOf, type Refusal } from "../mapping/change-mapper.ts";
import type { Mapping } from "../mapping/compile.ts";
import type { Authority } from "../store/authority.ts";

/** By stream, why its changes in one transaction become no events. */
export type Refusals = ReadonlyMap<string, Refusal>;

export interface RefusalContext {
  readonly mapping: Mapping;
  readonly authority: Authority;
  /** Takes the streams that legacy may begin although their aggregates have moved. */
  readonly madeByLegacy: Set<string>;
  /** Current versions of streams as committed, 0 for one that does not exist. */
  readonly versions: (streams: readonly string[]) => Promise<readonly number[]>;
}

const NOTHING_REFUSED: readonly undefined[] = [];

/** Of an aggregate over which the new service decides. */
export const FOREIGN_WRITE: Refusal = {
  code: "FOREIGN_WRITE",
  reason: "the row was written past the new service, which decides over its aggregate",
};

/**
 * Finds what must not be taken for an event although it could be mapped: writes of legacy to aggregates
 * that have moved, and echoes of events that the store does not have.
 *
 * An aggregate that is new to the store is legacy's to create, whichever bucket it falls into; so are
 * further changes of it in the same transaction.
 *
 * @param transactions images completed; those that were left out already are not here
 * @returns of each transaction; an empty array when there is nothing to refuse
 */
export async function refuseChanges(
  transactions: readonly Changes[],
  { mapping, authority, madeByLegacy, versions }: RefusalContext,
): Promise<readonly (Refusals | undefined)[]> {
  const { hasMoved } = authority;
  if (!hasMoved && transactions.every(({ transaction }) => transaction.echo === undefined))
    return NOTHING_REFUSED;
  const touched = transactions.map((one) => touch(one, mapping, authority));
  if (touched.some(({ foreign }) => foreign.size > 0)) {
    // It may have gone back to legacy since, and the change be legacy's own.
    await authority.refresh();
    for (const { foreign } of touched)
      for (const stream of foreign.keys()) if (!authority.isMoved(stream)) foreign.delete(stream);
  }
  const asked = new Set<string>();
  for (const { foreign, echoed } of touched) {
    for (const stream of echoed.keys()) asked.add(stream);
    for (const [stream, isInserted] of foreign) if (isInserted) asked.add(stream);
  }
  const streams = [...asked];
  const found = streams.length === 0 ? [] : await versions(streams);
  const at = new Map(streams.map((stream, i) => [stream, found[i]!]));
  return touched.map(({ foreign, echoed }) => {
    const refused = new Map<string, Refusal>();
    for (const [stream, version] of echoed)
      if (version > at.get(stream)!) refused.set(stream, unknownEcho(version, at.get(stream)!));
    for (const [stream, isInserted] of foreign) {
      if (!isInserted || at.get(stream)! > 0) refused.set(stream, FOREIGN_WRITE);
      else {
        // It is there from now on.
        at.set(stream, 1);
        madeByLegacy.add(stream);
      }
    }
    return refused.size === 0 ? undefined : refused;
  });
}

interface Touched {
  /** Streams that the transaction echoes and changes, and the version that it says. */
  readonly echoed: Map<string, number>;
  /** Others over which the new service decides, and whether the root row was inserted. */
  readonly foreign: Map<string, boolean>;
}

function touch({ transaction, changes }: Changes, mapping: Mapping, authority: Authority): Touched {
  const echoes = new Map(transaction.echo?.map(({ stream, version }) => [stream, version]));
  const touched: Touched = { echoed: new Map(), foreign: new Map() };
  if (echoes.size === 0 && !authority.hasMoved) return touched;
  for (const change of changes) {
    if (change.kind === "truncate") continue;
    const mapper = mapping.mapperOf(change.table);
    if (mapper === undefined) continue;
    for (const stream of streamsOf(change, mapper)) {
      const version = echoes.get(stream);
      if (version !== undefined) touched.echoed.set(stream, version);
      else if (authority.isMoved(stream)) {
        const isInserted = mapper.isRoot && change.kind === "insert";
        touched.foreign.set(stream, isInserted || touched.foreign.get(stream) === true);
      }
    }
  }
  return touched;
}

function unknownEcho(told: number, stored: number): Refusal {
  return {
    code: "ECHO_UNKNOWN",
    reason: `its transaction says that it writes back event ${told}, and the stream ends at ${stored}`,
  };
}
