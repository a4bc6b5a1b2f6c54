import { breakable, escapeHtml, stackedBar, swatch } from "./page-charts.ts";
import { page } from "./page.ts";
import { count, plural } from "./output.ts";
import type { Flaw } from "../verify/history-check.ts";
import type {
  ParityReport,
  ParitySample,
  ParityState,
  TableParity,
} from "../verify/parity-report.ts";

const COLOURS: Readonly<Record<ParityState, string>> = {
  equal: "equal",
  different: "differs",
  inconclusive: "unclear",
};

/** A verification as one page: the verdict, what was covered, and what differs down to the column. */
export function parityHtml(report: ParityReport): string {
  return page(`${report.pipeline}: ${report.state}`, [
    header(report),
    tiles(report),
    coverage(report),
    reasons(report),
    tables(report),
    differences(report),
    flaws(report),
    nextSteps(report),
    footer(report),
  ]);
}

function header(report: ParityReport): string {
  return `<header>
<h1>${dot(COLOURS[report.state])}${escapeHtml(headline(report))}</h1>
<p class="soft">Pipeline ${escapeHtml(report.pipeline)} · verified ${escapeHtml(report.finishedAt.slice(0, 19).replace("T", " "))} UTC${report.fence === undefined ? "" : ` · as of position ${escapeHtml(report.fence)}`}</p>
</header>`;
}

function dot(colour: string): string {
  return `<span class="badge">${swatch(colour)}</span>`;
}

function headline(report: ParityReport): string {
  switch (report.state) {
    case "equal":
      return "The events fold to exactly the rows";
    case "different":
      return differing(report);
    case "inconclusive":
      return "It could not be told whether events and rows agree";
  }
}

function differing({ missing, extra, different, unexamined, history }: ParityReport): string {
  const rows = missing + extra + different;
  if (rows === 0 && history.streams > 0)
    return "The events fold to the rows, but do not follow on from each other";
  if (rows === 0 && history.untold !== 0)
    return "The store does not hold just the events that its pipelines have written";
  return `${unexamined > 0 ? "At least " : ""}${plural(rows, "row")} and their events do not agree`;
}

function tiles(report: ParityReport): string {
  const figures: [string, number][] = [
    ["Rows compared", report.compared],
    ["Rows there are", report.present],
    ["Rows without events", report.missing],
    ["Events without a row", report.extra],
    ["Rows that differ", report.different],
    ["Rows left out", report.excluded.rows],
    ["Flawed histories", report.history.streams],
  ];
  const cells = figures.map(
    ([name, value]) => `<div><dt>${name}</dt><dd>${count(value)}</dd></div>`,
  );
  return `<dl class="tiles">${cells.join("")}</dl>`;
}

function coverage(report: ParityReport): string {
  const { compared, missing, different, excluded } = report;
  if (report.present === 0) return "";
  const parts = [
    { label: "equal", value: compared - missing - different, colour: "equal" },
    { label: "not agreeing", value: missing + different, colour: "differs" },
    { label: "left out", value: excluded.rows, colour: "unclear" },
    ...(report.unexamined === 0
      ? []
      : [
          {
            label: "not looked into",
            value: report.present - compared - excluded.rows,
            colour: "unclear",
          },
        ]),
  ];
  return `<section class="card"><h3>The ${count(report.present)} rows that there are</h3>
<div style="margin-top:12px">${stackedBar("Rows by outcome", parts)}</div></section>`;
}

function reasons({ reasons: all }: ParityReport): string {
  if (all.length === 0) return "";
  const items = all.map((reason) => `<li>${escapeHtml(reason)}</li>`).join("");
  return `<h2>To know</h2><section class="card"><ul>${items}</ul></section>`;
}

function tables(report: ParityReport): string {
  if (report.tables.length === 0) return "";
  const rows = report.tables.map((table) => {
    const figures: [string, number][] = [
      ["Present", table.present],
      ["Compared", table.compared],
      ["Missing", table.missing],
      ["Extra", table.extra],
      ["Different", table.different],
      ["Columns", table.columns],
    ];
    const cells = figures.map(
      ([name, value]) => `<td class="n" data-label="${name}">${count(value)}</td>`,
    );
    const isEqual = table.missing + table.extra + table.different === 0;
    return `<tr><th scope="row">${dot(isEqual ? "equal" : "differs")}${breakable(table.table)}<div class="soft small">stream ${escapeHtml(table.streamType)}${leftOut(table)}</div></th>${cells.join("")}</tr>`;
  });
  const heads = ["Present", "Compared", "Missing", "Extra", "Different", "Columns"];
  return `<h2>Tables</h2>
<section class="card scroll"><table class="wide stacks"><thead><tr><th>Table</th>${heads.map((head) => `<th class="n">${head}</th>`).join("")}</tr></thead>
<tbody>${rows.join("\n")}</tbody></table></section>`;
}

function leftOut({ columnsLeftOut: columns }: TableParity): string {
  if (columns.length === 0) return "";
  return `; not compared, because generated and not in the log: ${columns.map(breakable).join(", ")}`;
}

const VERDICTS: Readonly<Record<ParitySample["verdict"], string>> = {
  missing: "The row is there, and no events fold to it",
  extra: "Events fold to a row that is not there",
  different: "Row and fold have other values",
};

function differences(report: ParityReport): string {
  if (report.samples.length === 0) return "";
  const all = report.missing + report.extra + report.different;
  const shown =
    report.samples.length < all
      ? `<p class="soft">${report.samples.length} of ${count(all)}.</p>`
      : "";
  return `<h2>Differences</h2>${shown}${report.samples.map(difference).join("\n")}`;
}

function difference({ verdict, table, stream, key, columns, reason }: ParitySample): string {
  const rows = columns.map(
    ({ column, row, fold }) =>
      `<tr><th scope="row">${breakable(column)}</th><td data-label="Row">${cell(row)}</td><td data-label="Fold">${cell(fold)}</td></tr>`,
  );
  const list =
    rows.length === 0
      ? ""
      : `<table class="wide stacks"><thead><tr><th>Column</th><th>Row</th><th>Fold of the events</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
  const why = reason === undefined ? "" : ` Not written back: ${escapeHtml(reason)}.`;
  return `<details class="card"><summary>${breakable(table)} ${escapeHtml(key)} <span class="soft">${verdict}</span></summary>
<p>${VERDICTS[verdict]}. Its stream: ${escapeHtml(stream)}.${why}</p>${list}</details>`;
}

const FLAWS: Readonly<Record<Flaw["verdict"], string>> = {
  hole: "Versions before it are not there",
  doubled: "It tells once more what the event before it told",
  mistimed: "It happened at another time than it says of its row",
  broken: "It does not follow from the events before it",
};

function flaws({ history: { streams, samples } }: ParityReport): string {
  if (samples.length === 0) return "";
  const rows = samples.map(
    ({ verdict, stream, version, table = "", key = "", columns }) =>
      `<tr><th scope="row">${breakable(stream)}</th><td class="n" data-label="Version">${count(version)}</td><td data-label="What">${verdict}: ${FLAWS[verdict]}</td><td data-label="Row">${breakable(`${table} ${key}`.trim())}</td><td data-label="Columns">${columns.map(breakable).join(", ")}</td></tr>`,
  );
  return `<h2>Histories</h2><p class="soft">${plural(streams, "aggregate")} in all.</p>
<section class="card scroll"><table class="wide stacks"><thead><tr><th>Stream</th><th class="n">Version</th><th>What</th><th>Row</th><th>Columns</th></tr></thead>
<tbody>${rows.join("\n")}</tbody></table></section>`;
}

function cell(value: string | null): string {
  return value === null ? `<span class="soft">NULL</span>` : escapeHtml(value);
}

function nextSteps({ nextSteps: steps }: ParityReport): string {
  if (steps.length === 0) return "";
  return `<h2>Next</h2><section class="card"><pre>${steps.map(escapeHtml).join("\n")}</pre></section>`;
}

function footer({ startedAt, finishedAt, effort }: ParityReport): string {
  const took = ((Date.parse(finishedAt) - Date.parse(startedAt)) / 1000).toFixed(1);
  return `<footer>It took ${took} s: ${plural(effort.buckets, "sum")} of row hashes compared, ${count(effort.bucketsDiffering)} of them looked into, ${plural(effort.aggregatesExamined, "aggregate")} compared row by row. A report older than a day says nothing about today.</footer>`;
}
