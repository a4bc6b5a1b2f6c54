import { count, plural } from "./output.ts";
import type { EventStore } from "../store/event-store.ts";
import type { ReverseConflict } from "../store/reverse-store.ts";

/** How far native events are in the legacy rows. */
export interface ReverseNote {
  /** Whether somebody writes them there now. */
  readonly running: boolean;
  readonly lagSeconds: number;
  /** Events, ever. */
  readonly applied: number;
  readonly conflicts: number;
  /** Some of them, the oldest first. */
  readonly samples: readonly (ReverseConflict & { readonly foundAt: string })[];
  readonly updatedAt: string;
}

const SAMPLES_MAX = 5;
/** One that runs says so every second. */
const SILENT_MS_MAX = 15_000;

/** @returns undefined when it never ran */
export async function reverseNote(
  { reverse }: Pick<EventStore, "reverse">,
  pipeline: string,
): Promise<ReverseNote | undefined> {
  const status = await reverse.status(pipeline, SAMPLES_MAX);
  if (status === undefined) return undefined;
  const { lagSeconds, applied, conflicts, samples, updatedAt } = status;
  const running = Date.now() - Date.parse(updatedAt) < SILENT_MS_MAX;
  return { running, lagSeconds, applied, conflicts, samples, updatedAt };
}

/** Rows of a status table. */
export function reverseRows(note: ReverseNote | undefined): string[][] {
  if (note === undefined) return [];
  const { running, lagSeconds, applied, conflicts, samples } = note;
  const rest = running ? `lag ${lagSeconds.toFixed(1)} s` : "not running";
  return [
    ["reverse sync", `${plural(applied, "event")} written back, ${rest}`],
    ...(conflicts === 0 ? [] : [["  conflicts", count(conflicts)]]),
    ...samples.map(({ stream, table, key, columns, reason }) => {
      const row = table === "" ? "" : `${table} ${key}`.trim();
      const where = [row, columns.join(", ")].filter((text) => text !== "").join(": ");
      return [`  ${stream}`, where === "" ? reason : `${reason} (${where})`];
    }),
  ];
}
