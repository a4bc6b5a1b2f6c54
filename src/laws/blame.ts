import { updateMatches, rowMatches, type CompiledRule } from "../mapping/compiled-rule.ts";
import type { TableMapper } from "../mapping/table-mapper.ts";
import type { RowChange } from "../model/change.ts";
import { BanyanError } from "../model/errors.ts";
import { isStorableJson } from "../model/storable-text.ts";
import type { Cells } from "../model/table.ts";

/** Which function of which rule kept a change from being told, and what it did. */
export interface Blame {
  readonly code: "rule-throws" | "inverse-throws" | "inverse-does-not-hold" | "data-not-storable";
  readonly rule: string;
  readonly column?: string;
  readonly reason: string;
  readonly next: string;
  /** JSON text of what "to" made of the change, and of what "from" made of that; absent when it did not come so far. */
  readonly made?: string;
  readonly back?: string;
}

/**
 * Finds the function at fault for a change that the mapping parked, by calling the rules' functions in
 * the mapping's own order. Undefined when none of them is: then it is no rule's doing.
 */
export function blameRule(change: RowChange, mapper: TableMapper): Blame | undefined {
  const { before, after } = change;
  if (before === undefined || after === undefined || isMove(before, after, mapper)) {
    return (
      (before === undefined ? undefined : blameRow(mapper.parts.deletes, before, mapper)) ??
      (after === undefined ? undefined : blameRow(mapper.parts.inserts, after, mapper))
    );
  }
  return blameUpdate(before, after, mapper);
}

function isMove(before: Cells, after: Cells, { table, parts }: TableMapper): boolean {
  return [...table.key, ...parts.streamColumns].some((column) => before[column] !== after[column]);
}

function blameRow(
  rules: readonly CompiledRule[],
  cells: Cells,
  { parts }: TableMapper,
): Blame | undefined {
  for (const rule of rules) {
    try {
      if (rowMatches(rule, cells, parts.json)) return undefined;
    } catch (error) {
      return thrownBy(rule, '"where"', error);
    }
  }
  return undefined;
}

function blameUpdate(before: Cells, after: Cells, mapper: TableMapper): Blame | undefined {
  const { json, updates } = mapper.parts;
  const changed = new Uint8Array(before.map((cell, column) => (cell === after[column] ? 0 : 1)));
  for (const rule of updates) {
    try {
      if (!updateMatches(rule, before, after, changed, json)) continue;
    } catch (error) {
      return thrownBy(rule, '"where"', error);
    }
    const blame =
      rule.transform === undefined ? undefined : blameTransform(rule, before, after, mapper);
    if (blame !== undefined) return blame;
    for (const column of rule.claims) if (changed[column] === 1) changed[column] = 2;
  }
  return undefined;
}

function blameTransform(
  rule: CompiledRule,
  before: Cells,
  after: Cells,
  { parts: { json }, table }: TableMapper,
): Blame | undefined {
  const { to, from } = rule.transform!;
  let made: string | undefined;
  try {
    made = JSON.stringify(to(json.object(after) as never, json.object(before) as never));
  } catch (error) {
    return thrownBy(rule, '"to"', error);
  }
  if (made === undefined || !isStorableJson(made)) {
    return {
      code: "data-not-storable",
      rule: rule.type,
      reason: `"to" of rule ${rule.type} gives what no event can hold: ${made === undefined ? "nothing that JSON has a form for" : "U+0000 or half a surrogate pair"}`,
      next: `Let "to" of rule ${rule.type} give an object of plain values`,
    };
  }
  let back: Record<string, unknown>;
  try {
    back = from(JSON.parse(made) as never) as Record<string, unknown>;
    if (typeof back !== "object" || back === null) throw new TypeError("it gives no object");
  } catch (error) {
    return { ...thrownBy(rule, '"from"', error), code: "inverse-throws", made };
  }
  const given = JSON.stringify(back);
  const next = `Correct "from" of rule ${rule.type}, or let "to" keep what is needed for it`;
  const wrong = (column: number, reason: string): Blame => {
    const { name } = table.columns[column]!;
    return {
      code: "inverse-does-not-hold",
      rule: rule.type,
      column: name,
      reason,
      next,
      made,
      back: given,
    };
  };
  for (const [column, { name }] of table.columns.entries()) {
    if (!Object.hasOwn(back, name)) {
      if (!rule.transformColumns.includes(column)) continue;
      return wrong(column, `the inverse of rule ${rule.type} leaves out column "${name}"`);
    }
    if (json.cell(column, back[name]) !== after[column]) {
      return wrong(
        column,
        `the inverse of rule ${rule.type} gives column "${name}" another value than it has`,
      );
    }
  }
  return undefined;
}

function thrownBy({ type }: CompiledRule, which: string, error: unknown): Blame {
  // The mapping wraps what a function throws, to name the function; that is done here already.
  const thrown = error instanceof BanyanError && error.cause !== undefined ? error.cause : error;
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return {
    code: "rule-throws",
    rule: type,
    reason: `${which} of rule ${type} throws: ${message}`,
    next: `Let ${which} of rule ${type} bear every row that the table can hold, as this one`,
  };
}
