import { recordedRole, renamedRole } from "./column-history.ts";
import type { Mapping } from "./compile.ts";
import type { RolePlan } from "./stream-plan.ts";
import type { ReportProblem } from "./mapping-problem.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";

/** Whether the events of earlier mappings still mean the rows that this one is about. */
export function checkRecorded(
  mapping: Mapping,
  recorded: ReadonlyMap<number, MappingDefinition>,
  problem: ReportProblem,
): void {
  checkInverses(mapping, recorded, problem);
  for (const role of mapping.streams.flatMap((stream) => stream.roles))
    checkIdentity(mapping, role, recorded, problem);
}

/** The events of a rule with a function need its inverse. */
function checkInverses(
  mapping: Mapping,
  recorded: ReadonlyMap<number, MappingDefinition>,
  problem: ReportProblem,
): void {
  const inverses = mapping.inverses();
  const lost = new Set<string>();
  for (const { type: stream } of mapping.streams) {
    for (const { streams } of recorded.values()) {
      const events = Object.hasOwn(streams, stream) ? streams[stream]!.events : {};
      for (const [type, shape] of Object.entries(events)) {
        const name = `${stream}/${type}`;
        const needs = shape.kind === "changed" && shape.inverse === "function";
        if (!needs || inverses.has(name) || lost.has(name)) continue;
        lost.add(name);
        problem({
          code: "inverse-lost",
          stream,
          rule: type,
          message: `there are or may be events ${type} that a rule with a function made, and no inverse folds them now`,
          next: `Give rule ${type} its "transform" back, or keep only its inverse: inverses: { ${type}: (data) => … } in stream ${stream}`,
        });
      }
    }
  }
}

/** A row told by another key, or in another aggregate, would be a second row beside the one that is there. */
function checkIdentity(
  mapping: Mapping,
  { streamType: stream, role, tableRef, child }: RolePlan,
  recorded: ReadonlyMap<number, MappingDefinition>,
  problem: ReportProblem,
): void {
  const table = mapping.shapeOf(tableRef.name);
  if (table === undefined) return;
  const known =
    recordedRole(recorded, stream, tableRef.name) ?? renamedRole(recorded, stream, role, table);
  if (known === undefined) return;
  const columns = mapping.columnsOf(table);
  /** A column by the name that it had when it was recorded. */
  const before = (name: string, names: readonly string[]): string => {
    const formerly = columns.find((column) => column.name === name)?.formerly ?? [];
    return [name, ...formerly].find((one) => names.includes(one)) ?? name;
  };
  const key = table.key.map((index) => before(table.columns[index]!.name, known.key));
  const next = `Give it back, or give the whole config another name and an empty store, which begins a new history`;
  const place = { stream, table: table.name, next };
  if (!isSame(key, known.key)) {
    problem({
      ...place,
      code: "key-changed",
      message: `the key of ${table.name} was (${known.key.join(", ")}) and is (${table.key.map((index) => table.columns[index]!.name).join(", ")}) now: rows told by the one are not found by the other`,
    });
  }
  if (child === undefined || known.parent === undefined) return;
  const links = Object.keys(known.parent);
  const now = Object.keys(child.parent).map((name) => before(name, links));
  if (!isSame([...now].sort(), [...links].sort())) {
    problem({
      ...place,
      code: "parent-changed",
      message: `"${role}" was linked to its ${stream} by (${links.join(", ")}) and is by (${Object.keys(child.parent).join(", ")}) now: rows told in the one aggregate would be told on in another`,
    });
  }
}

function isSame(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((name, i) => name === b[i]);
}
