/** One part of a bar. */
export interface BarPart {
  readonly label: string;
  readonly value: number;
  /** Name of a colour of the page's style. */
  readonly colour: string;
}

export interface Bar {
  readonly label: string;
  readonly parts: readonly BarPart[];
  /** What stands at its end. */
  readonly text: string;
}

/** Text in HTML, also inside a quoted attribute. */
export function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;")
    .replaceAll("'", "&#39;");
}

/** A name that may be broken where its words meet. */
export function breakable(name: string): string {
  return escapeHtml(name).replaceAll(/(?<=[._])(?=\w)|(?<=\p{Ll})(?=\p{Lu})/gu, "<wbr>");
}

/** A whole divided into its parts, with a legend that says in words what the colours say. */
export function stackedBar(name: string, parts: readonly BarPart[]): string {
  const shown = parts.filter(({ value }) => value > 0);
  const all = shown.map(({ label, value }) => `${value} ${label}`).join(", ");
  const legend = shown
    .map(({ label, value, colour }) => `<li>${swatch(colour)}${value} ${escapeHtml(label)}</li>`)
    .join("");
  return `<svg class="stack" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="${escapeHtml(`${name}: ${all}`)}">${rects(shown, sum(shown))}</svg>
<ul class="legend">${legend}</ul>`;
}

/**
 * Horizontal bars, the longest filling its cell. A table, so that a reader without eyes for colours
 * gets the same: the bars only repeat what label and figure say.
 */
export function barTable(caption: string, bars: readonly Bar[]): string {
  const longest = Math.max(...bars.map(({ parts }) => sum(parts)), 0);
  const rows = bars.map(({ label, parts, text }) => {
    const said = parts
      .filter(({ value }) => value > 0)
      .map((part) => part.label)
      .join(", ");
    const bar = `<svg viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="${escapeHtml(said === "" ? "none" : said)}">${rects(parts, longest)}</svg>`;
    return `<tr><th scope="row">${breakable(label)}</th><td>${bar}</td><td>${escapeHtml(text)}</td></tr>`;
  });
  return `<table class="bars" aria-label="${escapeHtml(caption)}"><tbody>${rows.join("\n")}</tbody></table>`;
}

export function swatch(colour: string): string {
  return `<i style="background:var(--${colour})" aria-hidden="true"></i>`;
}

function rects(parts: readonly BarPart[], whole: number): string {
  let x = 0;
  return parts
    .map(({ label, value, colour }) => {
      const width = whole === 0 ? 0 : (value / whole) * 100;
      // A part that is there is seen.
      const drawn = value > 0 ? Math.max(width, 0.4) : 0;
      const rect = `<rect x="${x.toFixed(2)}" y="0" width="${drawn.toFixed(2)}" height="10" fill="var(--${colour})"><title>${escapeHtml(label)}</title></rect>`;
      x += width;
      return rect;
    })
    .join("");
}

function sum(parts: readonly BarPart[]): number {
  return parts.reduce((total, { value }) => total + value, 0);
}
