import type { CompletedEvent } from "./complete-event.ts";
import { eventRefused, givenRow, rowsOf, wholeRow, type RowCells } from "./given-row.ts";
import type { StreamMapping, StreamRole } from "./stream-mapping.ts";
import { ChangeMapper } from "../mapping/change-mapper.ts";
import { EventBuffer } from "../mapping/event-buffer.ts";
import type { RowChange } from "../model/change.ts";
import type { Position } from "../model/position.ts";
import type { StreamState } from "../projection/fold.ts";

type Data = Readonly<Record<string, unknown>>;

/** What the mapper wants to know of a transaction and that no event of a service keeps. */
const NO_TRANSACTION = { id: "", commit: "0".repeat(16), end: "" as Position };

/**
 * The events that the config's own rules make of a change of an aggregate's rows: the very ones that a
 * capture of such changes, made in one transaction, would give, the fallback event included.
 *
 * @param next undefined when the aggregate is gone
 * @throws BanyanError `EVENT_REFUSED`
 */
export function eventsOfChange(
  mapping: StreamMapping,
  stream: string,
  state: StreamState,
  next: Data | undefined,
): readonly CompletedEvent[] {
  const changes = changesTo(mapping, stream, state, next);
  const committedAtUs = Date.now() * 1000;
  const events = new EventBuffer();
  const parked: { readonly reason: string }[] = [];
  const counts = { changesIn: 0, claimed: 0, fallback: 0, unchanged: 0, echoed: 0, parked: 0 };
  const mapper = new ChangeMapper(mapping.mapping, 0);
  const transaction = { ...NO_TRANSACTION, committedAtUs };
  mapper.map(transaction, changes, undefined, { events, parked: parked as never, counts });
  if (parked.length > 0) throw eventRefused(`the change of ${stream}: ${parked[0]!.reason}`);
  return events.types.map((type, i) => ({
    type,
    data: JSON.parse(events.data[i]!) as Record<string, unknown>,
    timeUs: events.timesUs[i] === committedAtUs ? undefined : events.timesUs[i],
  }));
}

/** Rows that are gone, then the root, then rows that are new or changed: no child is ever without its root. */
function changesTo(
  mapping: StreamMapping,
  stream: string,
  state: StreamState,
  next: Data | undefined,
): readonly RowChange[] {
  const roles = [...mapping.roles.values()];
  const root = roles.find(({ isRoot }) => isRoot)!;
  const children = roles.filter(({ isRoot }) => !isRoot);
  const names = children.map(({ role }) => role);
  const differences = [
    differenceOf(
      root,
      state,
      next === undefined ? [] : [wholeRow(givenRow(root, stream, stream, next, names))],
    ),
    ...children.map((child) => {
      const rows = (next?.[child.role] ?? []) as readonly Data[];
      const what = `${stream}, ${child.role}`;
      return differenceOf(
        child,
        state,
        rows.map((row) => wholeRow(givenRow(child, stream, what, row))),
      );
    }),
  ];
  const gone = differences.flatMap((difference) => difference.gone).reverse();
  const there = differences.flatMap((difference) => difference.there);
  return [...gone, ...there].map((change, i) => ({ ...change, ordinal: i + 1 }));
}

type Changes = readonly Omit<RowChange, "ordinal">[];

function differenceOf(
  of: StreamRole,
  state: StreamState,
  next: readonly RowCells[],
): { readonly gone: Changes; readonly there: Changes } {
  const { mapper, table, role } = of;
  const before = new Map(rowsOf(of, state).map((row) => [mapper.keyOf(row), row]));
  const after = new Map(next.map((row) => [mapper.keyOf(row), row]));
  if (after.size < next.length) throw eventRefused(`two rows of ${role} have one key`);
  return {
    gone: [...before].flatMap(([key, row]) =>
      after.has(key) ? [] : [{ kind: "delete", table, before: row, after: undefined } as const],
    ),
    there: [...after].flatMap(([key, row]) => {
      const old = before.get(key);
      if (old?.every((cell, i) => cell === row[i]) === true) return [];
      const kind = old === undefined ? "insert" : "update";
      return [{ kind, table, before: old, after: row } as const];
    }),
  };
}
