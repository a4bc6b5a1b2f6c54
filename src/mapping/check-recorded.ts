import type { Mapping } from "./compile.ts";
import type { ReportProblem } from "./mapping-problem.ts";
import type { MappingDefinition } from "../model/mapping-definition.ts";

/** Whether the events of earlier mappings can still be folded: those of a rule with a function need its inverse. */
export function checkRecorded(
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
          code: "inverse-missing",
          stream,
          rule: type,
          message: `there are or may be events ${type} that a rule with a function made, and no inverse folds them now`,
          next: `Give rule ${type} its "transform" back, or keep only its inverse: inverses: { ${type}: (data) => … } in stream ${stream}`,
        });
      }
    }
  }
}
