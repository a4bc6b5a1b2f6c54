/** The style of the pages. Light and dark follow the reader's setting; no font is loaded. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --page: #f6f7f5; --card: #ffffff; --ink: #1b211d; --soft: #5b655e; --line: #dde2dd; --code: #f0f2ef;
  --migrate-first: #0b6b4b; --migrate: #2f74c0; --later: #c08a1a; --blocked: #c0392b; --leave: #98a29b;
  --added: #2f74c0; --changed: #c08a1a; --removed: #c0392b;
  --equal: #0b6b4b; --differs: #c0392b; --unclear: #c08a1a;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141815; --card: #1c211e; --ink: #e8ece9; --soft: #a3ada6; --line: #323a35; --code: #141815;
    --migrate-first: #3fb68b; --migrate: #6ba8ea; --later: #dcae4c; --blocked: #e9796d; --leave: #727c75;
    --added: #6ba8ea; --changed: #dcae4c; --removed: #e9796d;
    --equal: #3fb68b; --differs: #e9796d; --unclear: #dcae4c;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 12px; }
h3 { font-size: 17px; margin: 0 0 4px; overflow-wrap: anywhere; }
p { margin: 0 0 10px; }
.soft { color: var(--soft); }
.small { font-size: 14px; font-weight: 400; }
.lead { font-size: 18px; margin: 18px 0 22px; max-width: 75ch; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px; }
.card + .card { margin-top: 14px; }
.first { border-left: 5px solid var(--migrate-first); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 0 0 22px; padding: 0; }
.tiles div { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px; }
.tiles dt { color: var(--soft); font-size: 14px; }
.tiles dd { margin: 0; font-size: 22px; font-weight: 600; overflow-wrap: anywhere; }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 14px; }
.two .card + .card { margin-top: 0; }
ul { margin: 6px 0 10px; padding-left: 20px; }
li { margin: 2px 0; overflow-wrap: anywhere; }
svg { display: block; }
.stack { width: 100%; height: 26px; border-radius: 6px; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 20px; padding: 0; margin: 10px 0 0; }
.legend i, .badge i { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.badge { white-space: nowrap; font-weight: 600; font-size: 14px; }
.bars { width: 100%; border-collapse: collapse; font-size: 14px; }
.bars th { text-align: left; font-weight: 400; padding: 4px 10px 4px 0; width: 34%; overflow-wrap: anywhere; }
.bars td { padding: 4px 0; vertical-align: middle; }
.bars td:last-child { text-align: right; padding-left: 10px; width: 22%; font-variant-numeric: tabular-nums; }
.bars svg { width: 100%; height: 14px; }
.boxes { display: flex; flex-wrap: wrap; gap: 8px; margin: 10px 0 12px; padding: 0; list-style: none; }
.boxes li { border: 1px solid var(--line); border-radius: 7px; padding: 5px 11px; font-size: 14px; margin: 0; }
.boxes li:first-child { border: 2px solid var(--migrate-first); font-weight: 600; }
.scroll { overflow-x: auto; }
table.wide { width: 100%; border-collapse: collapse; font-size: 14px; }
table.wide th, table.wide td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
table.wide thead th { color: var(--soft); font-weight: 500; white-space: nowrap; }
table.wide tbody th { font-weight: 600; overflow-wrap: anywhere; min-width: 120px; }
table.wide .n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
table.wide .why { min-width: 260px; }
table.wide tbody tr:last-child > * { border-bottom: 0; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: 7px; padding: 10px 12px; overflow-x: auto; font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 6px 0 0; white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; font-weight: 600; }
details > :not(summary) { margin-top: 10px; }
footer { margin-top: 40px; color: var(--soft); font-size: 14px; max-width: 80ch; }
@media (max-width: 640px) {
  main { padding: 20px 14px 48px; }
  h1 { font-size: 24px; }
  .lead { font-size: 17px; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .card { padding: 14px; }
  table.stacks thead { display: none; }
  table.stacks tr { display: block; padding: 10px 0; border-bottom: 1px solid var(--line); }
  table.stacks tr:last-child { border-bottom: 0; }
  table.stacks th, table.stacks td { display: block; border: 0; padding: 1px 0; text-align: left; }
  table.stacks .n { text-align: left; white-space: normal; }
  table.stacks td[data-label]::before { content: attr(data-label) ": "; color: var(--soft); }
}
@media print {
  body { background: #fff; }
  .card, .tiles div { break-inside: avoid; }
}
`;
