import { eventRefused, givenRow, rowBefore, wholeRow, type RowCells } from "./given-row.ts";
import type { StreamMapping, StreamRole } from "./stream-mapping.ts";
import { rowMatches, updateMatches, type CompiledRule } from "../mapping/compiled-rule.ts";
import type { StreamState } from "../projection/fold.ts";

/** An event in the shape that a captured one has. */
export interface CompletedEvent {
  readonly type: string;
  readonly data: Readonly<Record<string, unknown>>;
  /** Valid time where a row says it, microseconds since 1970. */
  readonly timeUs: number | undefined;
}

type Data = Readonly<Record<string, unknown>>;

/**
 * Completes an event of a service against what its rule and the tables demand: key, columns that the rule
 * tells although they stay, values in their canonical form, old values under `$was`.
 *
 * @param state before the event
 * @throws BanyanError `EVENT_REFUSED`
 */
export function completeEvent(
  mapping: StreamMapping,
  stream: string,
  state: StreamState,
  { type, data }: { readonly type: string; readonly data: Data },
): CompletedEvent {
  const what = `${type} of ${stream}`;
  const shape = Object.hasOwn(mapping.definition.events, type)
    ? mapping.definition.events[type]
    : undefined;
  const found = ruleOf(mapping, type);
  if (shape === undefined || found === undefined) {
    throw eventRefused(
      `${what}: ${found === undefined ? "no rule of the config" : "no mapping of the store"} has that name`,
      "Restart `banyan run` with the config that the service has",
    );
  }
  const { role, rule, on } = found;
  switch (on) {
    case "insert":
      return created(mapping, role, rule, { stream, state, what, type, data });
    case "update":
      return changed(role, rule, { stream, state, what, type, data });
    case "delete":
      return removed(role, rule, { stream, state, what, type, data });
  }
}

interface Said {
  readonly stream: string;
  readonly state: StreamState;
  readonly what: string;
  readonly type: string;
  readonly data: Data;
}

function created(
  mapping: StreamMapping,
  role: StreamRole,
  rule: CompiledRule,
  said: Said,
): CompletedEvent {
  const { stream, state, what, type, data } = said;
  const { mapper } = role;
  const given = givenRow(role, stream, what, data, rule.with);
  if (rowBefore(role, state, given) !== undefined)
    throw eventRefused(`${what}: there is such a row already`);
  const cells = wholeRow(given);
  if (mapper.insertRule(cells) !== rule)
    throw eventRefused(`${what}: the rule's conditions do not hold`);
  const children = Object.fromEntries(
    rule.with.map((name) => {
      const rows = (data[name] ?? []) as readonly Data[];
      return [name, rows.map((row) => childRow(mapping.roles.get(name)!, stream, what, row))];
    }),
  );
  for (const name of rule.with)
    refuseDoubles(mapping.roles.get(name)!, what, children[name]!, state);
  const json: Record<string, unknown> = mapper.parts.json.object(cells);
  for (const name of rule.with) {
    const child = mapping.roles.get(name)!;
    json[name] = children[name]!.map((row) => child.mapper.parts.json.object(row));
  }
  return { type, data: json, timeUs: mapper.validTimeUs(cells) };
}

function childRow(role: StreamRole, stream: string, what: string, row: Data): RowCells {
  return wholeRow(givenRow(role, stream, `${what}, ${role.role}`, row));
}

function refuseDoubles(
  role: StreamRole,
  what: string,
  rows: readonly RowCells[],
  state: StreamState,
): void {
  const keys = new Set<string>();
  for (const row of rows) {
    const key = role.mapper.keyOf(row);
    if (keys.has(key) || rowBefore(role, state, row) !== undefined)
      throw eventRefused(`${what}: two rows of ${role.role} have one key`);
    keys.add(key);
  }
}

function changed(role: StreamRole, rule: CompiledRule, said: Said): CompletedEvent {
  const { stream, state, what, type, data } = said;
  const { table, mapper } = role;
  const { json } = mapper.parts;
  const given = givenRow(role, stream, what, data);
  const before = rowBefore(role, state, given);
  if (before === undefined) throw eventRefused(`${what}: there is no such row`);
  fillIn(rule, given);
  const stray = given.findIndex(
    (cell, i) => cell !== undefined && !rule.claims.includes(i) && before[i] !== cell,
  );
  if (stray >= 0) {
    const told = rule.claims.map((i) => table.columns[i]!.name).join(", ");
    throw eventRefused(
      `${what} does not tell of "${table.columns[stray]!.name}"`,
      `It tells of: ${told}`,
    );
  }
  const after = before.map((cell, i) => (given[i] === undefined ? cell : given[i]));
  const differs = Uint8Array.from(after, (cell, i) => (cell === before[i] ? 0 : 1));
  if (!updateMatches(rule, before, after, differs, json))
    throw eventRefused(`${what}: the rule's conditions do not hold, or nothing changes`);
  const told = rule.claims.filter((i) => differs[i] === 1 && !rule.transformColumns.includes(i));
  const now = json.object(after);
  const was = json.object(before);
  const named = (columns: readonly number[], row: Data): Data =>
    Object.fromEntries(columns.map((i) => [table.columns[i]!.name, row[table.columns[i]!.name]]));
  const whole = rule.claims.filter((i) => differs[i] === 1);
  return {
    type,
    data: {
      ...named(rule.emits, now),
      $was: named(rule.transform === undefined ? told : whole, was),
      ...(rule.transform !== undefined && { $data: rule.transform.to(now as never, was as never) }),
    },
    timeUs: timeOfChange(role, before, after),
  };
}

/** `becomes("paid")` leaves no choice. */
function fillIn(rule: CompiledRule, given: (string | null | undefined)[]): void {
  for (const { column, kind, values } of rule.conditions) {
    const hasOne = (kind === "becomes" || kind === "is") && values.length === 1;
    if (hasOne && given[column] === undefined) given[column] = values[0] ?? null;
  }
}

function removed(role: StreamRole, rule: CompiledRule, said: Said): CompletedEvent {
  const { stream, state, what, type, data } = said;
  const { mapper, table } = role;
  const before = rowBefore(role, state, givenRow(role, stream, what, data));
  if (before === undefined) throw eventRefused(`${what}: there is no such row`);
  if (!rowMatches(rule, before, mapper.parts.json))
    throw eventRefused(`${what}: the rule's conditions do not hold`);
  const row = mapper.parts.json.object(before);
  const key = Object.fromEntries(
    table.key.map((i) => [table.columns[i]!.name, row[table.columns[i]!.name]]),
  );
  return { type, data: { ...key, $was: row }, timeUs: undefined };
}

/** As of captured events: a change that leaves the time as it was says nothing of when it happened. */
function timeOfChange(
  { mapper }: StreamRole,
  before: RowCells,
  after: RowCells,
): number | undefined {
  const column = mapper.parts.validTimeColumn;
  if (column === undefined || before[column] === after[column]) return undefined;
  return mapper.validTimeUs(after);
}

interface FoundRule {
  readonly role: StreamRole;
  readonly rule: CompiledRule;
  readonly on: "insert" | "update" | "delete";
}

function ruleOf(mapping: StreamMapping, type: string): FoundRule | undefined {
  for (const role of mapping.roles.values()) {
    const { inserts, updates, deletes } = role.mapper.parts;
    for (const [on, rules] of [
      ["insert", inserts],
      ["update", updates],
      ["delete", deletes],
    ] as const) {
      const rule = rules.find((candidate) => candidate.type === type);
      if (rule !== undefined) return { role, rule, on };
    }
  }
  return undefined;
}
