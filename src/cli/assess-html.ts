import { barTable, breakable, escapeHtml, stackedBar, swatch, type Bar } from "./page-charts.ts";
import { page } from "./page.ts";
import {
  aggregateRateWords,
  identityWords,
  keyWords,
  rateWords,
  VERDICT_WORDS,
} from "./assess-text.ts";
import type {
  AssessedAggregate,
  AssessedTable,
  Assessment,
  Verdict,
} from "../assess/assessment.ts";
import { VERDICTS } from "../assess/assessment.ts";
import { amount, byteAmount, duration, known, rate } from "../assess/figures.ts";

/** Of a chart; what is smaller does not show anyway. */
const BARS_MAX = 10;

/** The assessment as one page that can be sent. */
export function assessmentHtml(assessment: Assessment, madeAt: Date): string {
  const { database } = assessment;
  return page(`Is event sourcing worth it for ${database}?`, [
    header(assessment, madeAt),
    tiles(assessment),
    verdictSection(assessment),
    firstSection(assessment),
    charts(assessment),
    aggregateSection(assessment),
    blockerSection(assessment),
    tableSection(assessment),
    basisSection(assessment),
  ]);
}

function header({ database, server, summary }: Assessment, madeAt: Date): string {
  return `<header>
<h1>Is event sourcing worth it for ${escapeHtml(database)}?</h1>
<p class="soft">${escapeHtml(server)} · looked at on ${madeAt.toISOString().slice(0, 10)} with banyan assess</p>
<p class="lead">${escapeHtml(summary.sentences.slice(1).join(" ") || summary.sentences.join(" "))}</p>
</header>`;
}

function tiles({ summary }: Assessment): string {
  const { migrating } = summary;
  const figures: [string, string][] = [
    ["Tables", amount(summary.tables)],
    ["Rows", known(summary.rows, amount)],
    ["Size without indexes", byteAmount(summary.bytes)],
    ["Row changes a day", known(summary.changesPerDay, rate)],
    ["Event store after the baseline", known(migrating.baselineBytes, byteAmount)],
    ["Store growth a day", known(migrating.bytesPerDay, byteAmount)],
  ];
  const cells = figures.map(
    ([name, value]) => `<div><dt>${name}</dt><dd>${escapeHtml(value)}</dd></div>`,
  );
  return `<dl class="tiles">${cells.join("")}</dl>`;
}

function verdictSection({ summary }: Assessment): string {
  if (summary.tables === 0) return "";
  const parts = VERDICTS.map((verdict) => ({
    label: VERDICT_WORDS[verdict],
    value: summary.verdicts[verdict],
    colour: verdict,
  }));
  return `<section class="card"><h3>What to do with the ${summary.tables} tables</h3>
<div style="margin-top:12px">${stackedBar("Tables by verdict", parts)}</div></section>`;
}

function firstSection({ first, aggregates }: Assessment): string {
  const aggregate = aggregates.find(({ name }) => name === first?.aggregate);
  if (first === undefined || aggregate === undefined) return "";
  const { cost } = aggregate;
  const boxes = [aggregate.root, ...aggregate.children.map(({ table }) => table)];
  return `<h2>Begin here: ${escapeHtml(aggregate.name)}</h2>
<section class="card first">
<ul class="boxes">${boxes.map((name) => `<li>${breakable(name)}</li>`).join("")}</ul>
${list(first.reasons)}
<p class="soft small">Its baseline: ${escapeHtml(known(cost.baselineEvents, amount))} events from ${escapeHtml(known(cost.rows, amount))} rows, ${escapeHtml(known(cost.baselineBytes, byteAmount))} in the event store, ${escapeHtml(known(cost.baselineSeconds, duration))} at 25,000 rows a second. ${escapeHtml(growthWords(aggregate))}</p>
</section>`;
}

function growthWords({ cost }: AssessedAggregate): string {
  const growth = known(cost.bytesPerDay, byteAmount);
  return growth === "unknown"
    ? "By how much it grows after that is not known."
    : `After that it grows by ${growth} a day.`;
}

function charts({ tables, aggregates }: Assessment): string {
  if (tables.length === 0) return "";
  const worth = aggregates
    .filter((aggregate) => aggregate.worth > 0)
    .slice(0, BARS_MAX)
    .map(({ name, worth: points, verdict }): Bar => ({
      label: name,
      parts: [
        { label: `${points} points, ${VERDICT_WORDS[verdict]}`, value: points, colour: verdict },
      ],
      text: VERDICT_WORDS[verdict],
    }));
  const size = largest(tables, ({ bytes }) => bytes).map(({ name, bytes, verdict }): Bar => ({
    label: name,
    parts: [{ label: byteAmount(bytes), value: bytes, colour: verdict }],
    text: byteAmount(bytes),
  }));
  const changed = largest(tables, perDay).map((table): Bar => {
    const { insertedPerDay = 0, updatedPerDay = 0, deletedPerDay = 0 } = table.changes;
    return {
      label: table.name,
      parts: [
        { label: `${rate(insertedPerDay)} added`, value: insertedPerDay, colour: "added" },
        { label: `${rate(updatedPerDay)} changed`, value: updatedPerDay, colour: "changed" },
        { label: `${rate(deletedPerDay)} removed`, value: deletedPerDay, colour: "removed" },
      ],
      text: rate(perDay(table)),
    };
  });
  const growth = largest(tables, ({ bytesPerDay }) => bytesPerDay?.value ?? 0).map(
    ({ name, bytesPerDay, verdict }): Bar => ({
      label: name,
      parts: [{ label: VERDICT_WORDS[verdict], value: bytesPerDay!.value, colour: verdict }],
      text: known(bytesPerDay!, byteAmount),
    }),
  );
  const legend = `<ul class="legend small">${["added", "changed", "removed"].map((name) => `<li>${swatch(name)}${name}</li>`).join("")}</ul>`;
  const cards = [
    chart(
      "What history would bring",
      "Points for states, money, overwritten and deleted rows, and history that is kept already.",
      worth,
    ),
    chart("Rows changed a day", "Where the work is.", changed, legend),
    chart(
      "Growth of the event store a day",
      "If the table were kept as events; what is grey is better left.",
      growth,
    ),
    chart("Size of the tables", "Without indexes.", size),
  ].filter((card) => card !== "");
  return `<h2>At a glance</h2>\n<div class="two">${cards.join("\n")}</div>`;
}

function chart(title: string, says: string, bars: readonly Bar[], legend = ""): string {
  if (bars.length === 0) return "";
  return `<section class="card"><h3>${title}</h3><p class="soft small">${says}</p>${barTable(title, bars)}${legend}</section>`;
}

function aggregateSection(assessment: Assessment): string {
  const { aggregates } = assessment;
  if (aggregates.length === 0) return "";
  const rows = aggregates.map(
    (
      aggregate,
    ) => `<tr><th scope="row">${breakable(aggregate.name)}<div class="soft small" style="font-weight:400">${breakable(members(aggregate))}</div></th>
<td>${badge(aggregate.verdict)}</td><td class="why">${escapeHtml(aggregate.reasons.join("; "))}</td>
<td class="n" data-label="Rows">${escapeHtml(known(aggregate.rows, amount))}</td><td class="n" data-label="Changes a day">${escapeHtml(aggregateRateWords(aggregate, assessment))}</td><td class="n" data-label="Store growth a day">${escapeHtml(known(aggregate.cost.bytesPerDay, byteAmount))}</td></tr>`,
  );
  return `<h2>Aggregates, in the order of migration</h2>
<section class="card scroll"><table class="wide stacks"><thead><tr><th scope="col">Aggregate</th><th scope="col">Verdict</th><th scope="col">Why</th><th scope="col" class="n">Rows</th><th scope="col" class="n">Changes a day</th><th scope="col" class="n">Store a day</th></tr></thead><tbody>
${rows.join("\n")}
</tbody></table></section>`;
}

function members({ root, children }: AssessedAggregate): string {
  return [root, ...children.map(({ table }) => table)].join(", ");
}

function blockerSection({ blockers }: Assessment): string {
  if (blockers.length === 0) return "";
  const items = blockers.map(
    ({ table, text, sql }) =>
      `<div class="card"><h3>${escapeHtml(table ?? "The server")}</h3><p>${escapeHtml(text)}</p>${
        sql === undefined ? "" : `<pre>${escapeHtml(sql.replaceAll(/; (?=[A-Z])/g, ";\n"))}</pre>`
      }</div>`,
  );
  return `<h2>Before a capture</h2>\n${items.join("\n")}`;
}

function tableSection({ tables }: Assessment): string {
  if (tables.length === 0) return "";
  const rows = tables.map((table) => {
    const notes = table.notes.map(({ text }) => `<li>${escapeHtml(text)}</li>`).join("");
    const perDayCell = (name: string, value: number | undefined): string =>
      `<td class="n" data-label="${name}">${escapeHtml(rateWords(table, value))}</td>`;
    return `<tr><th scope="row">${breakable(table.name)}${notes === "" ? "" : `<details style="font-weight:400"><summary class="small">${table.notes.length} to know</summary><ul class="small">${notes}</ul></details>`}</th>
<td>${badge(table.verdict)}</td><td class="n" data-label="Rows">${table.rows === undefined ? "unknown" : escapeHtml(amount(table.rows))}</td><td class="n" data-label="Size">${escapeHtml(byteAmount(table.bytes))}</td>
${perDayCell("Added a day", table.changes.insertedPerDay)}${perDayCell("Changed a day", table.changes.updatedPerDay)}${perDayCell("Removed a day", table.changes.deletedPerDay)}
<td data-label="Key">${escapeHtml(keyWords(table))}</td><td data-label="Old row in the log">${escapeHtml(identityWords(table))}</td></tr>`;
  });
  return `<h2>Tables</h2>
<section class="card scroll"><table class="wide stacks"><thead><tr><th scope="col">Table</th><th scope="col">Verdict</th><th scope="col" class="n">Rows</th><th scope="col" class="n">Size</th><th scope="col" class="n">Added a day</th><th scope="col" class="n">Changed</th><th scope="col" class="n">Removed</th><th scope="col">Key</th><th scope="col">Old row in the log</th></tr></thead><tbody>
${rows.join("\n")}
</tbody></table></section>`;
}

function basisSection({ basis, advice }: Assessment): string {
  const rests = [
    basis.countedSeconds === undefined
      ? "This server does not count row changes."
      : `The server has counted row changes for ${duration(basis.countedSeconds)} at most; rates are averages over that time.`,
    ...(basis.sample === undefined
      ? []
      : [
          `Its log was watched for ${duration(basis.sample.seconds)}: ${amount(basis.sample.transactions)} transactions, ${amount(basis.sample.changes)} row changes.`,
        ]),
    ...(basis.sampleRefused === undefined ? [] : [basis.sampleRefused]),
    ...advice,
  ];
  return `<h2>What this rests on</h2>
<section class="card">${list(rests)}</section>
<footer><p>An <em>event</em> says what happened to one thing, such as “order paid”; event sourcing keeps all of them instead of only the latest state, which is what a table keeps (CRUD: rows are created, read, updated, deleted). An <em>aggregate</em> is a group of tables whose rows change together and move together. A <em>baseline</em> is the first event of what was there before.</p>
<p>Rows and values are the server's own estimates. No table was read, locked or changed. What is not known is called unknown and counts as nothing in a sum, which then says “at least”.</p>
<p>“Leave as CRUD” is a recommendation like the others: rows that are only added, chosen from or kept by a framework gain little from a history of events, and can be migrated when somebody needs one.</p></footer>`;
}

function list(items: readonly string[]): string {
  return `<ul>${items.map((item) => `<li>${escapeHtml(item)}</li>`).join("")}</ul>`;
}

function badge(verdict: Verdict): string {
  return `<span class="badge">${swatch(verdict)}${VERDICT_WORDS[verdict]}</span>`;
}

function perDay({ changes }: AssessedTable): number {
  return (
    (changes.insertedPerDay ?? 0) + (changes.updatedPerDay ?? 0) + (changes.deletedPerDay ?? 0)
  );
}

function largest(
  tables: readonly AssessedTable[],
  of: (table: AssessedTable) => number,
): readonly AssessedTable[] {
  return tables
    .filter((table) => of(table) > 0)
    .toSorted((a, b) => of(b) - of(a))
    .slice(0, BARS_MAX);
}
