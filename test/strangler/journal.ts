import { onTestFailed } from "vitest";

/** What was done and what was seen of it, with the seconds; told when the test fails. To be called in a test. */
export function openJournal(): (line: string) => void {
  const beganMs = performance.now();
  const lines: string[] = [];
  onTestFailed(() => void process.stderr.write(`${lines.join("\n")}\n`));
  return (line) => {
    lines.push(`${((performance.now() - beganMs) / 1_000).toFixed(1)} ${line}`);
  };
}
