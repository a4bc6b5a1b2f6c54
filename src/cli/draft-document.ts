import type { DraftedFile } from "./draft-files.ts";
import { count, plural, renderTable } from "./output.ts";
import type { Draft } from "../draft/draft.ts";
import type { LeftOut } from "../draft/select-aggregates.ts";

/** What `banyan draft --json` writes. */
export interface DraftDocument {
  readonly format: 1;
  readonly database: string;
  /** Of the pipeline. */
  readonly name: string;
  readonly files: readonly DraftedFile[];
  readonly aggregates: readonly DraftedStream[];
  readonly leftOut: readonly LeftOut[];
  /** Why a sample that was asked for could not be taken. */
  readonly sampleRefused?: string;
  readonly nextSteps: readonly string[];
}

interface DraftedStream {
  readonly name: string;
  readonly root: string;
  readonly verdict: string;
  readonly reasons: readonly string[];
  readonly boundary: readonly string[];
  readonly validTime?: string;
  readonly children: readonly {
    readonly role: string;
    readonly table: string;
    readonly reasons: readonly string[];
  }[];
  readonly events: readonly {
    readonly name: string;
    readonly table: string;
    readonly on: string;
    /** Columns of its condition and of its data. */
    readonly columns: readonly string[];
    readonly why: string;
  }[];
  readonly otherwise: string;
  readonly baseline: string;
}

export function draftDocument(
  database: string,
  draft: Draft,
  files: readonly DraftedFile[],
  sampleRefused: string | undefined,
): DraftDocument {
  return {
    format: 1,
    database,
    name: draft.name,
    files,
    aggregates: draft.aggregates.map(
      ({ proposal, assessed, children, rules, otherwise, baseline }) => ({
        name: proposal.name,
        root: proposal.root,
        verdict: assessed.verdict,
        reasons: assessed.reasons,
        boundary: proposal.reasons,
        ...(proposal.validTime === undefined ? {} : { validTime: proposal.validTime }),
        children: children.map(({ role, table, reasons }) => ({ role, table, reasons })),
        events: rules.map(({ event, table, on, when, anyOf, data, why }) => ({
          name: event,
          table,
          on,
          columns: [...when.map(({ column }) => column), ...anyOf, ...data],
          why,
        })),
        otherwise,
        baseline,
      }),
    ),
    leftOut: draft.leftOut,
    ...(sampleRefused === undefined ? {} : { sampleRefused }),
    nextSteps: nextSteps(draft, files),
  };
}

function nextSteps(draft: Draft, files: readonly DraftedFile[]): readonly string[] {
  if (files.length === 0) {
    const one = draft.leftOut.find(({ cause }) => cause === "judged");
    return one === undefined ? [] : [`banyan draft <url> --tables ${one.table}`];
  }
  if (files.some(({ state }) => state === "kept"))
    return ["take over by hand what the difference shows, or remove the file and draft again"];
  return ["set LEGACY_URL to the address of the database", "banyan check"];
}

/** For a person: what was drafted and what was not. */
export function draftText(document: DraftDocument): string {
  const { aggregates, leftOut, files } = document;
  const tables = aggregates.reduce((sum, { children }) => sum + 1 + children.length, 0);
  const events = aggregates.reduce((sum, one) => sum + one.events.length, 0);
  const lines = [
    aggregates.length === 0
      ? "nothing to draft: no table is worth a history by what is known of it"
      : `drafted ${plural(aggregates.length, "aggregate")} of ${plural(tables, "table")} with ${plural(events, "named event")}`,
  ];
  if (aggregates.length > 0) {
    const rows = aggregates.map(({ name, root, children, events: own, verdict }) => [
      name,
      [root, ...children.map(({ role }) => role)].join(" + "),
      count(own.length),
      verdict,
    ]);
    lines.push("", renderTable(["stream", "tables", "events", "verdict"], rows));
  }
  if (leftOut.length > 0) lines.push("", ...leftOutLines(leftOut));
  const shown = files.map(({ state, path }) => `${STATES[state]} ${path}`);
  if (shown.length > 0) lines.push("", ...shown);
  return lines.join("\n");
}

const SHOWN_MAX = 20;

function leftOutLines(leftOut: readonly LeftOut[]): readonly string[] {
  const told = leftOut.filter(({ cause }) => cause !== "unasked");
  const unasked = leftOut.length - told.length;
  const lines = told
    .slice(0, SHOWN_MAX)
    .flatMap(({ table, cause, reasons, sql }) => [
      `  ${table}: ${cause === "judged" ? "leave as CRUD: " : cause === "blocked" ? "blocked: " : ""}${reasons.join("; ")}`,
      ...sql.map((statement) => `      ${statement}`),
    ]);
  if (told.length > SHOWN_MAX)
    lines.push(`  and ${count(told.length - SHOWN_MAX)} more, at the end of banyan.config.ts`);
  if (unasked > 0) lines.push(`  ${plural(unasked, "table")} not asked for`);
  return ["left out:", ...lines];
}

const STATES = {
  created: "created  ",
  replaced: "replaced ",
  unchanged: "unchanged",
  kept: "kept     ",
} as const;
