import type { AuditedChange } from "../support/crash-audit.ts";
import type { AuditedEvent } from "../support/crash-telling.ts";

/** Columns that a round adds to the shop's tables. They are null until something else is written into them. */
export const EXTRA_COLUMN = /^extra_/;

/** A row from before a column was added, and one from after it, are the same row while it is null. */
export function changeWithoutNullExtras({ was, became, ...change }: AuditedChange): AuditedChange {
  return { ...change, was: withoutNullExtras(was), became: withoutNullExtras(became) };
}

export function eventWithoutNullExtras<Event extends AuditedEvent>(event: Event): Event {
  return { ...event, data: withoutNullExtrasIn(event.data) };
}

function withoutNullExtras<T extends Readonly<Record<string, unknown>> | null>(row: T): T {
  if (row === null || !Object.entries(row).some(isNullExtra)) return row;
  return Object.fromEntries(Object.entries(row).filter((cell) => !isNullExtra(cell))) as T;
}

function withoutNullExtrasIn(data: AuditedEvent["data"]): AuditedEvent["data"] {
  const entries = Object.entries(withoutNullExtras(data)).map(([name, value]) => {
    if (Array.isArray(value))
      return [name, (value as Readonly<Record<string, unknown>>[]).map(withoutNullExtras)];
    if (name !== "$was") return [name, value];
    const was = value as Readonly<Record<string, unknown>>;
    if (data["$op"] !== "update") return [name, withoutNullExtras(was)];
    // That it was nothing before is what an update tells of it.
    const old = Object.entries(was).map((cell) =>
      isNullExtra(cell) ? [cell[0], undefined] : cell,
    );
    return [name, Object.fromEntries(old) as unknown];
  });
  return Object.fromEntries(entries) as AuditedEvent["data"];
}

function isNullExtra([name, value]: [string, unknown]): boolean {
  return value === null && EXTRA_COLUMN.test(name);
}
