import type { AuditedChange } from "../support/crash-audit.ts";
import type { TimedEvent } from "./judge.ts";
import type { WitnessedTransaction } from "./witness.ts";

export function change(
  xid: string,
  relation: string,
  was: AuditedChange["was"],
  became: AuditedChange["became"],
): AuditedChange {
  return { xid, relation, was, became };
}

export function commit(xid: string, places: readonly string[]): WitnessedTransaction {
  return { xid, places, committedUs: committedUs(xid) };
}

function committedUs(xid: string): string {
  return `${xid}000000`;
}

export function at(commitAt: number, ordinal = 0): string {
  return `${String(commitAt).padStart(16, "0")}/${String(ordinal).padStart(8, "0")}`;
}

export function event(
  stream: string,
  version: number,
  type: string,
  transaction: string | null,
  commit: number,
  ordinal: number,
  data: TimedEvent["data"],
): TimedEvent {
  return {
    id: `${stream}/${version}`,
    stream,
    version,
    type,
    origin: transaction === null ? "baseline" : "capture",
    transaction,
    position: at(commit, ordinal),
    timeUs: committedUs(transaction ?? "0"),
    causation: null,
    data,
  };
}

export function removedLine(version: number, line_no: number): TimedEvent {
  return event("order-7", version, "OrderAmended", "5", 50, 2, {
    ...{ $row: "lines", $op: "delete", order_id: "7", line_no },
    $was: { order_id: "7", line_no },
  });
}

export function amended(
  stream: string,
  version: number,
  transaction: string,
  commit: number,
  ordinal: number,
  data: TimedEvent["data"],
): TimedEvent {
  const row = stream.split("-")[0]!;
  const said = { $row: row, $op: "update", ...data };
  const type = row === "order" ? "OrderAmended" : "CustomerAmended";
  return event(stream, version, type, transaction, commit, ordinal, said);
}
