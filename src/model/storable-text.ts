/** U+0000, or half of a surrogate pair, which is no character at all. */
const UNSTORABLE = /[\0\p{Surrogate}]/u;
/** Their escapes. JSON.stringify writes those and only those in this form, with lower-case digits. */
const UNSTORABLE_ESCAPE = /(?:^|[^\\])(?:\\\\)*\\u(?:0000|d[89a-f][0-9a-f]{2})/;

/** Whether text can be kept as it is: UTF-8 and a database's text have no place for the two above. */
export function isStorableText(text: string): boolean {
  return !UNSTORABLE.test(text);
}

/** Whether what JSON.stringify wrote can be kept as it is. */
export function isStorableJson(json: string): boolean {
  return !UNSTORABLE_ESCAPE.test(json);
}
