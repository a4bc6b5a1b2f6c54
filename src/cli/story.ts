import { count } from "./output.ts";
import type { RecordedEvent } from "../model/event.ts";

/** Tells an event in a line or two, as a person would want to hear it. */
export function tellEvent(event: RecordedEvent): string {
  const when = event.time.replace("T", " ").replace(/(\.\d{3})?\d*Z$/, "$1");
  const said = [
    event.actor === undefined ? undefined : `by ${event.actor}`,
    typeof event.metadata?.["reason"] === "string" ? `“${event.metadata["reason"]}”` : undefined,
  ].filter((part) => part !== undefined);
  const who = said.length === 0 ? "" : `  (${said.join(", ")})`;
  const origin = event.origin === "capture" ? "" : `  [${event.origin}]`;
  const lines = details(event).map((line) => `        ${line}`);
  return [
    `${String(event.version).padStart(4)}  ${when}  ${event.type}${origin}${who}`,
    ...lines,
  ].join("\n");
}

const DETAILS_MAX = 12;
const VALUE_LENGTH_MAX = 60;

function details(event: RecordedEvent): string[] {
  const {
    $was,
    $row,
    $op,
    $root: _root,
    $data,
    $gap,
    $continues: _continues,
    ...fields
  } = event.data as Record<string, unknown>;
  const was = ($was ?? {}) as Record<string, unknown>;
  const lines: string[] = [];
  if ($gap !== undefined) lines.push(...tellGap($gap as Record<string, unknown>));
  if (typeof $row === "string" && typeof $op === "string") lines.push(`${past($op)} ${$row}`);
  if (
    $op === "delete" ||
    ($was !== undefined &&
      Object.keys(fields).every((name) => name in was) &&
      isRemoval(fields, was))
  ) {
    lines.push(`was ${brief(was)}`);
    return lines;
  }
  for (const [name, value] of Object.entries(fields)) {
    if (Array.isArray(value) && value.every((item) => typeof item === "object" && item !== null)) {
      lines.push(`${name}: ${count(value.length)}`);
    } else if (name in was) lines.push(`${name}: ${show(was[name])} → ${show(value)}`);
    else if ($was === undefined && value !== null) lines.push(`${name}: ${show(value)}`);
  }
  if ($data !== undefined) lines.push(show($data));
  if (lines.length <= DETAILS_MAX) return lines;
  return [...lines.slice(0, DETAILS_MAX), `… and ${count(lines.length - DETAILS_MAX)} more`];
}

function tellGap({ from, to, reason, isGone }: Record<string, unknown>): string[] {
  return [
    `not known: what happened from ${String(from)} to ${String(to)}`,
    `reason: ${String(reason)}`,
    ...(isGone === true ? ["it was gone at the end of that"] : []),
  ];
}

/** A removal holds only the key beside the old row. */
function isRemoval(fields: Record<string, unknown>, was: Record<string, unknown>): boolean {
  return (
    Object.keys(was).length > Object.keys(fields).length &&
    Object.entries(fields).every(([name, value]) => was[name] === value)
  );
}

function past(operation: string): string {
  return { insert: "inserted", update: "changed", delete: "deleted" }[operation] ?? operation;
}

function brief(row: Record<string, unknown>): string {
  const parts = Object.entries(row)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name} ${show(value)}`);
  return parts.length <= 6 ? parts.join(", ") : `${parts.slice(0, 6).join(", ")}, …`;
}

function show(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value);
  if (value === null) return "nothing";
  return text.length <= VALUE_LENGTH_MAX
    ? text
    : `${text.slice(0, VALUE_LENGTH_MAX)}… (${text.length})`;
}
