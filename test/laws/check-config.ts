import { MemoryEventStore } from "../../connectors/memory/event-store.ts";
import { openMemoryRowSampler, type SampledMemory } from "../../connectors/memory/row-sampler.ts";
import { check, type Checked, type CheckOptions } from "../../src/cli/check-findings.ts";
import { checkText } from "../../src/cli/check-text.ts";
import { loadConfig } from "../../src/config/load-config.ts";
import type { SourceTable } from "../../src/model/table.ts";
import type { ChangeSource, Finding } from "../../src/source/change-source.ts";
import { configFolder } from "../support/cli.ts";
import { shape } from "../support/mapping-fixtures.ts";
import { ScriptedSource } from "../support/random-source.ts";

/** `orders` and its `lines`, as the database has them. */
const nullable = shape(
  "public.orders",
  "*id:int8 status total:numeric(10,2) paid:bool note placed_at:timestamptz",
);
export const ORDERS = {
  ...nullable,
  columns: nullable.columns.map((column) =>
    column.name === "total" ? { ...column, nullable: false } : column,
  ),
};
export const LINES = shape("public.lines", "*order_id:int8 *no:int4 sku:bpchar(4) quantity:int4");
export const STATUSES = ["placed", "paid", "shipped"] as const;

const KNOWN: SampledMemory = {
  rows: new Map([
    ["public.orders", []],
    ["public.lines", []],
  ]),
  columns: new Map([["public.orders", new Map([["status", { allowed: STATUSES }]])]]),
};

/** Before the streams of a config under test; line 8 is the first of theirs. */
const HEAD = `import { becomes, changed, changes, child, defineMigration, deleted, inserted, is, stream, table, updated, was } from "banyan";
const orders = table("orders");
const lines = table("lines");
const orderAlone = stream(orders, { otherwise: "OrderAmended" });
const source = { kind: "postgres" as const, url: "postgres://localhost/none" };
const children = { lines: child(lines, { order_id: "id" }) };
export default defineMigration({ name: "test", source, streams: {
`;

export interface ConfigChecked extends Checked {
  /** As a person at a terminal reads it. */
  readonly text: string;
}

export interface Database {
  readonly tables?: readonly SourceTable[];
  readonly sampled?: SampledMemory;
  /** What the source itself has against it. */
  readonly found?: readonly Finding[];
}

/** Checks a real config file against a database in memory. @param streams what stands between the braces */
export async function checkConfig(
  streams: string,
  { tables = [ORDERS, LINES], sampled = KNOWN, found = [] }: Database = {},
  options: Partial<CheckOptions> = {},
): Promise<ConfigChecked> {
  using folder = configFolder(`${HEAD}${streams}\n} } as never);\n`);
  const config = await loadConfig(`${folder.directory}/banyan.config.ts`);
  const script = { tables, baseline: new Map(), rows: new Map(), transactions: [] };
  const scripted = new ScriptedSource(script, { partChangesMax: 1, groupPartsMax: 1, rowsMax: 1 });
  const source: ChangeSource = Object.assign(scripted, {
    check: () => Promise.resolve([...found]),
  });
  const checked = await check(
    config,
    {
      source: () => Promise.resolve(source),
      sampler: () => Promise.resolve(openMemoryRowSampler(sampled)),
      store: () => Promise.resolve(new MemoryEventStore()),
    },
    { seed: 1, runs: 100, sample: 20, showValues: false, explain: false, ...options },
    new AbortController().signal,
  );
  return { ...checked, text: checkText(checked, []) };
}
