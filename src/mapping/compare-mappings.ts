import type { MappingDefinition, StreamDefinition } from "../model/mapping-definition.ts";

/** One thing in which a mapping differs from the one before. */
export interface MappingChange {
  readonly stream: string;
  readonly what: "stream" | "table" | "event" | "key";
  /** Table or event type; absent for a whole stream. */
  readonly name?: string;
  readonly how: "added" | "removed" | "changed";
  /** One sentence: what it means for events. */
  readonly message: string;
}

/** What a new mapping changes in the telling of things, stream by stream, in the order of the new one. */
export function compareMappings(
  before: MappingDefinition,
  after: MappingDefinition,
): readonly MappingChange[] {
  const changes: MappingChange[] = [];
  for (const [type, now] of Object.entries(after.streams)) {
    const was = Object.hasOwn(before.streams, type) ? before.streams[type] : undefined;
    if (was !== undefined) changes.push(...compareStreams(type, was, now));
    else {
      changes.push({
        stream: type,
        what: "stream",
        how: "added",
        message: `stream ${type} is new: its rows get their baseline when banyan run starts`,
      });
    }
  }
  for (const type of Object.keys(before.streams)) {
    if (Object.hasOwn(after.streams, type)) continue;
    changes.push({
      stream: type,
      what: "stream",
      how: "removed",
      message: `stream ${type} is gone: its events stay, and its tables are no longer captured`,
    });
  }
  return changes;
}

function* compareStreams(
  stream: string,
  was: StreamDefinition,
  now: StreamDefinition,
): Generator<MappingChange> {
  yield* compareRoles(stream, was, now);
  for (const [type, shape] of Object.entries(now.events)) {
    const before = Object.hasOwn(was.events, type) ? was.events[type] : undefined;
    if (before === undefined) {
      yield {
        stream,
        what: "event",
        name: type,
        how: "added",
        message: `${type} is new: ${shape.told ?? told(shape.kind)}`,
      };
    } else if (before.kind !== shape.kind || (before.told ?? shape.told) !== shape.told) {
      yield {
        stream,
        what: "event",
        name: type,
        how: "changed",
        message: `${type} is told otherwise: before, ${before.told ?? told(before.kind)}; now, ${shape.told ?? told(shape.kind)}`,
      };
    }
  }
  for (const type of Object.keys(was.events)) {
    if (Object.hasOwn(now.events, type)) continue;
    yield {
      stream,
      what: "event",
      name: type,
      how: "removed",
      message: `${type} comes no more; those that are there fold as before`,
    };
  }
}

function* compareRoles(
  stream: string,
  was: StreamDefinition,
  now: StreamDefinition,
): Generator<MappingChange> {
  for (const [role, { table, key }] of Object.entries(now.roles)) {
    const before = Object.hasOwn(was.roles, role) ? was.roles[role] : undefined;
    if (before === undefined) {
      yield {
        stream,
        what: "table",
        name: table,
        how: "added",
        message: `${table} joins as ${role}: its rows get their baseline when banyan run starts`,
      };
    } else if (before.key.join("\0") !== key.join("\0")) {
      yield {
        stream,
        what: "key",
        name: table,
        how: "changed",
        message: `the key of ${table} was ${before.key.join(", ")} and is now ${key.join(", ")}: rows told by the old one are not found by the new one`,
      };
    }
  }
  for (const [role, { table }] of Object.entries(was.roles)) {
    if (Object.hasOwn(now.roles, role)) continue;
    yield {
      stream,
      what: "table",
      name: table,
      how: "removed",
      message: `${table} leaves: what its rows were stays in the events, and its changes are no longer captured`,
    };
  }
}

function told(kind: StreamDefinition["events"][string]["kind"]): string {
  return kind === "any" ? "what no rule claims" : `a row is ${kind}`;
}
