import type { RecordedEvent } from "../../src/model/event.ts";
import type { EventStore } from "../../src/store/event-store.ts";

type Row = Readonly<Record<string, unknown>>;

export interface StreamShape {
  readonly root: string;
  /** Key columns by role, the root's among them. */
  readonly keys: Readonly<Record<string, readonly string[]>>;
}

const READ_MS_MAX = 60_000;

/**
 * What is told twice, left out, or told in the wrong order, of streams all of whose rows count their
 * changes in a column `n`, and whose every change is told by the fallback: an update must find the row
 * with the count that it says was there, an insert must find none, a delete one. What follows a gap in
 * history must follow from the rows that are stated after it.
 *
 * @returns problems; empty is the only good answer
 */
export async function brokenStreams(
  store: EventStore,
  shapes: Readonly<Record<string, StreamShape>>,
): Promise<readonly string[]> {
  const problems: string[] = [];
  for (const [type, shape] of Object.entries(shapes)) {
    const all = store.readStreamType(type, AbortSignal.timeout(READ_MS_MAX));
    let stream = "";
    let rows = new Map<string, unknown>();
    for await (const events of all) {
      for (const event of events) {
        if (event.stream !== stream) rows = new Map();
        stream = event.stream;
        const problem = apply(rows, shape, event);
        if (problem !== undefined) problems.push(`${stream} v${event.version}: ${problem}`);
      }
    }
  }
  return problems;
}

function apply(
  rows: Map<string, unknown>,
  { root, keys }: StreamShape,
  { type, data, version }: Pick<RecordedEvent, "type" | "data" | "version">,
): string | undefined {
  const place = (role: string, row: Row): string =>
    `${role}/${keys[role]!.map((name) => String(row[name])).join()}`;
  // One of tables that joined later has rows of those alone.
  const isJoin = type.endsWith("Baselined") && version !== 1;
  if (isJoin && data["$root"] !== null) return "a baseline that is not its first event";
  if (type.endsWith("Baselined") || type.endsWith("HistoryGapped")) {
    if (type.endsWith("HistoryGapped")) rows.clear();
    if (data["$root"] !== null) rows.set(place(root, data), data["n"]);
    for (const role of Object.keys(keys)) {
      if (role === root) continue;
      for (const row of (data[role] ?? []) as Row[]) {
        if (isJoin && rows.has(place(role, row)))
          return `${place(role, row)} is baselined and was there`;
        rows.set(place(role, row), row["n"]);
      }
    }
    return undefined;
  }
  const role = String(data["$row"]);
  const at = place(role, data);
  const was = (data["$was"] ?? {}) as Row;
  switch (data["$op"]) {
    case "insert":
      if (rows.has(at)) return `${at} is inserted and was there`;
      rows.set(at, data["n"]);
      return undefined;
    case "delete":
      if (!rows.has(at)) return `${at} is deleted and was not there`;
      if (rows.get(at) !== was["n"])
        return `${at} is deleted at ${String(was["n"])}, and stood at ${String(rows.get(at))}`;
      rows.delete(at);
      return undefined;
    default:
      if (!rows.has(at)) return `${at} is updated and was not there`;
      if (rows.get(at) !== was["n"])
        return `${at} is updated from ${String(was["n"])}, and stood at ${String(rows.get(at))}`;
      rows.set(at, data["n"]);
      return undefined;
  }
}
