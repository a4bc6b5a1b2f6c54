/** Compares what a page shows of a terminal with what a program printed. */

export interface Printed {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * What differs, or undefined. A line `…` stands for any lines of stdout. Lines of stderr may be left out
 * by the page, because progress depends on time; those that it shows must be there.
 */
export function difference(shown: readonly string[], printed: Printed): string | undefined {
  const stderr = new Set(linesOf(printed.stderr));
  const expected = shown.map(normal).filter((line) => !stderr.has(line));
  const actual = linesOf(printed.stdout);
  let at = 0;
  let gap = false;
  for (const line of expected) {
    if (line === "…") {
      gap = true;
      continue;
    }
    const found = gap ? actual.indexOf(line, at) : at;
    if (found < 0 || actual[found] !== line) return describe(line, actual, printed);
    at = found + 1;
    gap = false;
  }
  return gap || at === actual.length ? undefined : describe(undefined, actual.slice(at), printed);
}

/** Without what differs from run to run: places, moments (whole seconds are meant), sizes, addresses. */
function normal(line: string): string {
  return line
    .trimEnd()
    .replaceAll(/\b[0-9A-F]{16}\/[0-9A-F]{8}\b/g, "POSITION")
    .replaceAll(/\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\.(?!0+\b)\d+Z?/g, "MOMENT")
    .replaceAll(/\b\d+(\.\d+)? (B|KB|MB), \d+\.\d s/g, "LAG")
    .replaceAll(/[\d,]+\/s, lag \d+\.\d s, \d+(\.\d+)? (B|KB|MB)/g, "LAG")
    .replaceAll(/\(seed \d+\)/g, "(seed N)")
    .replaceAll(/last seen \d+ s ago/g, "last seen N s ago")
    .replace(/events go to (embedded Postgres in |postgres:\/\/)\S+/, "events go to $1…");
}

function linesOf(text: string): readonly string[] {
  return text === "" ? [] : text.trimEnd().split("\n").map(normal);
}

function describe(missing: string | undefined, rest: readonly string[], printed: Printed): string {
  const what = missing === undefined ? "more than shown:" : `not printed: ${missing}\nbut:`;
  return `${what}\n${rest.join("\n")}\nstderr:\n${printed.stderr}`;
}
