import Table from "cli-table3";
import { count, plural, rowsReadText } from "../model/count-text.ts";
import type { BaselineProgress, NotReadAnew } from "../pipeline/status.ts";
import type { LogLeft } from "../source/change-source.ts";

/** Writes the result of a command to stdout: text, or with `--json` one JSON document. */
export function writeResult(json: boolean, document: unknown, text: () => string): void {
  const body = json ? JSON.stringify(document, bigintAsText) : text();
  process.stdout.write(body.endsWith("\n") ? body : `${body}\n`);
}

/** Progress, notes and errors go to stderr, so that stdout stays a result. */
export function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({
    head: [...head],
    style: { head: [], border: [], compact: true },
    chars: {
      top: "",
      "top-mid": "",
      "top-left": "",
      "top-right": "",
      bottom: "",
      "bottom-mid": "",
      "bottom-left": "",
      "bottom-right": "",
      left: "",
      "left-mid": "",
      mid: "",
      "mid-mid": "",
      right: "",
      "right-mid": "",
      middle: "  ",
    },
    colAligns: head.map((_, column) =>
      rows.length > 0 && rows.every((row) => /^[\d, .%+-]*$/.test(row[column] ?? ""))
        ? "right"
        : "left",
    ),
  });
  table.push(...rows.map((row) => [...row]));
  return table.toString().replaceAll(/ +$/gm, "");
}

/** Beside the other words of an output. */
export { count, plural };

/** 65432 ms → ` 65.4 s`, right-aligned for a column of them. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1).padStart(5)} s`;
}

/** Bytes in the unit that suits them. */
export function bytes(value: number): string {
  if (value < 1024) return `${value} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let scaled = value / 1024;
  let unit = 0;
  while (scaled >= 1024 && unit < units.length - 1) {
    scaled /= 1024;
    unit += 1;
  }
  return `${scaled.toFixed(1)} ${units[unit]}`;
}

function bigintAsText(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

/** When a source that keeps its log within a limit gives up what was not acknowledged. */
export function describeLogLeft({ bytes: left, seconds: until }: LogLeft): string {
  const log = `after another ${bytes(left)} of it`;
  if (until === undefined) return log;
  const minutes = Math.floor(until / 60);
  const time = minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
  return `${log}, at the present rate in about ${time}`;
}

export function describeNotReadAnew({ stream, why }: NotReadAnew): string {
  return `${stream} was not read anew: ${why}`;
}

/** How far a baseline has come, in one line. */
export function describeBaseline(progress: BaselineProgress): string {
  const { mode, rowsRead, rowsEstimated, rowsPerSecond, bytesRead, secondsLeft, chunks } = progress;
  const parts = [`baseline: ${rowsReadText(rowsRead, rowsEstimated)}, ${bytes(bytesRead)}`];
  if (rowsPerSecond > 0) parts.push(`${count(rowsPerSecond)} rows/s`);
  if (secondsLeft > 0) parts.push(`about ${describeSeconds(secondsLeft)} left`);
  if (mode === "chunks") parts.push(plural(chunks, "chunk"));
  if (progress.paused) parts.push("paused; go on with: banyan baseline resume");
  else if (progress.backingOff !== "") parts.push(`resting: ${progress.backingOff}`);
  return parts.join(", ");
}

function describeSeconds(value: number): string {
  if (value < 120) return `${value} s`;
  const minutes = Math.ceil(value / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}
