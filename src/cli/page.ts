import { writeFileSync } from "node:fs";
import { escapeHtml } from "./page-charts.ts";
import { PAGE_STYLE } from "./page-style.ts";
import { BanyanError } from "../model/errors.ts";

/** One page that can be sent: no script, nothing loaded from elsewhere, readable on a phone and on paper. */
export function page(title: string, sections: readonly string[]): string {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
${sections.filter((part) => part !== "").join("\n")}
</main>
</body>
</html>
`;
}

/** @throws BanyanError `USAGE` */
export function writePage(file: string, html: string): void {
  try {
    writeFileSync(file, html);
  } catch (cause) {
    throw new BanyanError("USAGE", `${file} cannot be written`, {
      cause,
      hint: cause instanceof Error ? cause.message : "Name a file in a folder that exists",
    });
  }
}
