/**
 * A place in an answer, as configs and reports name it: `lines[].id` in a JSON body, whose elements have no
 * numbers; `.` for all of it; `(status)`, `(body)` and `(header location)` outside. A name that is not
 * plain is written as JSON in brackets: `prices["a.b"]`.
 */
export const STATUS_PLACE = "(status)";
export const BODY_PLACE = "(body)";
export const ROOT_PLACE = ".";

const NAME = /^[\p{L}_$][\p{L}\p{N}_$-]*$/u;
const PLACE =
  /^(?:\.|\(header [a-z0-9-]+\)|(?:[\p{L}_$][\p{L}\p{N}_$-]*|\[\]|\["(?:[^"\\]|\\.)*"\])(?:\.[\p{L}_$][\p{L}\p{N}_$-]*|\[\]|\["(?:[^"\\]|\\.)*"\])*)$/u;

export function headerPlace(name: string): string {
  return `(header ${name})`;
}

export function fieldPlace(parent: string, name: string): string {
  if (!NAME.test(name)) return `${prefixOf(parent)}[${JSON.stringify(name)}]`;
  return parent === ROOT_PLACE ? name : `${parent}.${name}`;
}

export function elementPlace(parent: string): string {
  return `${prefixOf(parent)}[]`;
}

/** How many elements an array has. */
export function countPlace(parent: string): string {
  return `${prefixOf(parent)}[#]`;
}

/** Whether a text can name a place of a body or a header. */
export function isPlace(text: string): boolean {
  return PLACE.test(text);
}

function prefixOf(parent: string): string {
  return parent === ROOT_PLACE ? "" : parent;
}
