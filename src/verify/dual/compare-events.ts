import { isDeepStrictEqual } from "node:util";
import type { Normaliser } from "./settings.ts";
import type { StreamDefinition } from "../../model/mapping-definition.ts";
import type { ProposedEvent } from "../../store/dual-store.ts";

/**
 * Whether two sides told the same by the same events: types and data in one order, without old values
 * (`$was`), which follow from what was told before, and without what the normaliser leaves out.
 *
 * @param hasOwnIds true when each side gave the aggregate an id of its own
 */
export function isToldAlike(
  definition: StreamDefinition,
  legacy: readonly ProposedEvent[],
  proposed: readonly ProposedEvent[],
  normaliser: Normaliser,
  hasOwnIds: boolean,
): boolean {
  const tell = ({ type, data }: ProposedEvent): unknown => [
    type,
    withoutNoise(data, roleOf(definition, type, data), definition, normaliser, hasOwnIds),
  ];
  return (
    legacy.length === proposed.length &&
    legacy.every((event, i) =>
      isAlike(tell(event), tell(proposed[i]!), normaliser.timestampsWithinMs),
    )
  );
}

function roleOf(definition: StreamDefinition, type: string, data: ProposedEvent["data"]): string {
  const shape = definition.events[type];
  return shape === undefined || shape.kind === "any" ? String(data["$row"]) : shape.role;
}

function withoutNoise(
  data: Readonly<Record<string, unknown>>,
  role: string,
  definition: StreamDefinition,
  normaliser: Normaliser,
  hasOwnIds: boolean,
): Record<string, unknown> {
  const table = definition.roles[role];
  const assigned = role === definition.root ? table?.key : Object.keys(table?.parent ?? {});
  const left = new Set(["$was", ...(normaliser.generated[role] ?? [])]);
  if (hasOwnIds) for (const name of assigned ?? []) left.add(name);
  const { ignore } = normaliser;
  const kept = Object.entries(data).filter(
    ([name]) => !left.has(name) && !ignore.includes(name) && !ignore.includes(`${role}.${name}`),
  );
  const told = kept.map(([name, value]) => {
    const isChildren = Array.isArray(value) && Object.hasOwn(definition.roles, name);
    if (!isChildren) return [name, value];
    const rows = value as Record<string, unknown>[];
    return [name, rows.map((row) => withoutNoise(row, name, definition, normaliser, hasOwnIds))];
  });
  return Object.fromEntries(told) as Record<string, unknown>;
}

const ISO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?$/;

function isAlike(a: unknown, b: unknown, withinMs: number): boolean {
  if (isDeepStrictEqual(a, b)) return true;
  if (withinMs === 0) return false;
  if (typeof a === "string" && typeof b === "string") {
    const areTimes = ISO_TIME.test(a) && ISO_TIME.test(b);
    return areTimes && Math.abs(Date.parse(a) - Date.parse(b)) <= withinMs;
  }
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const names = Object.keys(a);
  return (
    names.length === Object.keys(b).length &&
    names.every(
      (name) => Object.hasOwn(b, name) && isAlike((a as Data)[name], (b as Data)[name], withinMs),
    )
  );
}

type Data = Readonly<Record<string, unknown>>;
