import { assertColumns } from "./claims.ts";
import { eventRefused } from "./given-row.ts";
import type { Loaded } from "./decided.ts";
import type { Rule } from "../mapping/rules.ts";
import { idOf, type StreamWorkOptions } from "./stream-work.ts";
import { textOf } from "../store/append-rules.ts";

/** Aggregates that have had one value of a column which are looked at for who has it now. */
const HOLDERS_MAX = 1_000;

/** See `Aggregates.holders`. @param load folds one of them */
export async function holders(
  { store, streamType, mappings, ref }: StreamWorkOptions,
  load: (id: string) => Promise<Loaded<Readonly<Record<string, unknown>>>>,
  column: string,
  value: string,
): Promise<readonly string[]> {
  const mapping = await mappings.of(streamType);
  assertColumns(mapping, [column]);
  const rule = Object.entries(ref.events).find(([, one]) => transforms(one, column));
  if (rule !== undefined)
    throw eventRefused(`${rule[0]} has ${column} in another form: nobody can be found by it`);
  const streams = await store.services.streamsNaming(streamType, column, value, HOLDERS_MAX);
  const found: string[] = [];
  for (const stream of streams) {
    const id = idOf(mapping, stream);
    const { state } = await load(id);
    if (textOf(state?.[column]) === value) found.push(id);
  }
  return found;
}

function transforms(rule: Rule, column: string): boolean {
  const columns: readonly string[] = ("transform" in rule && rule.transform?.columns) || [];
  return columns.includes(column);
}
