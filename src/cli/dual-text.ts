import { count, plural, renderTable } from "./output.ts";
import type { DualReport, DualSample, SampleEvent } from "../verify/dual/dual-report.ts";
import { meaningOf } from "../verify/dual/reasons.ts";

/** Verdicts on dual writes for people: counts by route, then each failure with both sides. */
export function describeDual(report: DualReport): string {
  const { routes, pass, fail, inconclusive, waiting, samples, nextSteps } = report;
  const lines: string[] = [];
  if (routes.length > 0) {
    const head = ["stream", "route", "pass", "fail", "inconclusive", "waiting"];
    const rows = routes.map((route) => [
      route.streamType,
      route.route,
      ...[route.pass, route.fail, route.inconclusive, route.waiting].map(count),
    ]);
    lines.push(renderTable(head, rows), "");
  }
  const figures = `${count(pass)} pass, ${count(fail)} fail, ${count(inconclusive)} inconclusive, ${count(waiting)} waiting, since ${report.since.slice(0, 19)}Z`;
  lines.push(
    `${{ pass: "✓ pass", fail: "✗ fail", inconclusive: "? could not tell" }[report.state]}: ${figures}`,
  );
  for (const [reason, number] of reasonsOf(report))
    lines.push(`  ${count(number)} ${reason}: ${meaningOf(reason)}`);
  for (const sample of samples) lines.push("", ...describeSample(sample));
  if (nextSteps.length > 0) lines.push(`next: ${nextSteps.join("  |  ")}`);
  return lines.join("\n");
}

/** Most frequent first. */
function reasonsOf({ routes }: DualReport): readonly (readonly [string, number])[] {
  const reasons = new Map<string, number>();
  for (const route of routes)
    for (const [reason, number] of Object.entries(route.reasons))
      reasons.set(reason, (reasons.get(reason) ?? 0) + number);
  return [...reasons].sort(([, a], [, b]) => b - a);
}

const EVENT_LENGTH_MAX = 60;

function describeSample(sample: DualSample): readonly string[] {
  const { reason, route, askedAt, correlationId, legacyStatus, newStatus } = sample;
  const lines = [
    `✗ ${reason}: ${route} at ${askedAt}, request ${correlationId}`,
    `  legacy answered ${legacyStatus}, the service ${newStatus}; ${meaningOf(reason)}`,
  ];
  for (const stream of sample.streams) {
    const { legacy, proposed, decidedOn } = stream;
    const place = (name: string | null): string => name ?? "no stream";
    lines.push(
      ...indented(
        renderTable(
          [
            `${place(legacy)} became, behind version ${decidedOn}`,
            `${place(proposed)} would have become`,
          ],
          sideBySide(stream.legacyEvents, stream.proposedEvents),
        ),
      ),
    );
  }
  if (sample.partings.length > 0) lines.push("  they part:");
  for (const { role, key, verdict, columns } of sample.partings) {
    // Nothing is left of a key that each side made up by itself.
    const row = key === "[]" ? role : `${role} ${key}`;
    if (verdict === "missing") lines.push(`    ${row}: only legacy has the row`);
    if (verdict === "extra") lines.push(`    ${row}: only the service has the row`);
    for (const { column, legacy, proposed } of columns)
      lines.push(
        `    ${row}, ${column}: legacy ${legacy ?? "NULL"}, service ${proposed ?? "NULL"}`,
      );
  }
  return lines;
}

function sideBySide(
  legacy: readonly SampleEvent[],
  proposed: readonly SampleEvent[],
): readonly (readonly string[])[] {
  const rows = Math.max(legacy.length, proposed.length, 1);
  return Array.from({ length: rows }, (_, i) => [eventText(legacy[i]), eventText(proposed[i])]);
}

function eventText(event: SampleEvent | undefined): string {
  if (event === undefined) return "–";
  const members = Object.entries(event.data).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${name} ${text.length > EVENT_LENGTH_MAX ? `${text.slice(0, EVENT_LENGTH_MAX)}…` : text}`;
  });
  return [event.type, ...members.map((member) => `  ${member}`)].join("\n");
}

function indented(table: string): readonly string[] {
  return table.split("\n").map((line) => `  ${line}`.trimEnd());
}

/** What was left undone, for a note beside the report. */
export function describeLeft(waiting: number): string {
  return `${plural(waiting, "write")} could not be judged in time; the capture has not got that far`;
}
