import anyAscii from "any-ascii";

/**
 * The words of an identifier, in lower case: `OrderLineNo`, `order_line_no` and `ORDER LINE NO` are
 * `order`, `line`, `no`. Accents go, so that `Straße` and `strasse` are one word.
 */
export function wordsOf(identifier: string): readonly string[] {
  return identifier
    .replaceAll("ß", "ss")
    .normalize("NFD")
    .replaceAll(/\p{Mark}/gu, "")
    .replaceAll(/([\p{Ll}\d])(\p{Lu})/gu, "$1 $2")
    .replaceAll(/(\p{Lu}+)(\p{Lu}\p{Ll})/gu, "$1 $2")
    .split(/[^\p{L}\d]+/u)
    .filter((word) => word !== "")
    .map((word) => word.toLowerCase());
}

/** Words that end in s and are not a plural. */
const SINGULAR =
  /(ss|us|is|news|series|species|status|address|process|access|bus|gas|canvas|analysis|basis)$/;

/** `orders` → `order`, `categories` → `category`, `addresses` → `address`. */
export function singular(word: string): string {
  if (/(?:ss|x|ch|sh|(?:stat|b|vir|camp|bon|cens)us)es$/.test(word)) return word.slice(0, -2);
  if (/[^aeiou]ies$/.test(word)) return `${word.slice(0, -3)}y`;
  if (word === "people") return "person";
  if (word.length < 3 || !word.endsWith("s") || SINGULAR.test(word)) return word;
  return word.slice(0, -1);
}

export function singularWords(identifier: string): readonly string[] {
  return wordsOf(identifier).map(singular);
}

/** `["order", "line"]` → `orderLine`. */
export function camelCase(words: readonly string[]): string {
  return words
    .map((word, index) => (index === 0 ? word : `${word[0]!.toUpperCase()}${word.slice(1)}`))
    .join("");
}

/** A name that a stream, or a child in it, may have: a letter, then letters, digits and underscores. */
export function mappingName(words: readonly string[]): string {
  const name = camelCase(latinWords(words.join(" ")));
  return /^[a-zA-Z]/.test(name) ? name : `table${name}`;
}

/** The words in the letters a to z, however they were written: `заказы` → `zakazy`. */
export function latinWords(text: string): readonly string[] {
  return wordsOf(anyAscii(wordsOf(text).join(" ")));
}
