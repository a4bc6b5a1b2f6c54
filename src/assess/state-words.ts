/** Words that tell where something stands, beside participles. */
const STATES = new Set(
  (
    "new open draft active inactive pending done ready paid unpaid void sent lost won held hold cart trial live " +
    "empty full free busy idle up down online offline in out overdue current initial final complete incomplete " +
    "todo progress review ok error success failure neu offen"
  ).split(" "),
);

/** Whether values tell where something stands (`paid`, `shipped`, `pending`) rather than what it is. */
export function looksLikeStates(values: readonly string[]): boolean {
  const telling = values.filter((value) => {
    const words = value.toLowerCase().split(/[^\p{L}]+/u);
    return words.some((word) => STATES.has(word) || /[a-z]{3}(ed|ing)$/.test(word));
  });
  return telling.length * 2 >= values.length;
}

/** What a column of few values says of itself: `placed, paid, shipped, …`. */
export function listValues(values: readonly string[], max = 5): string {
  const shown = values.slice(0, max).join(", ");
  return values.length > max ? `${shown}, …` : shown;
}
