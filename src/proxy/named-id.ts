/** An id is there, but not so that every reader must find the same one. */
export const UNCLEAR = Symbol("unclear");

/** What stands where a request names its aggregate; undefined when nothing does. */
export type NamedId = string | typeof UNCLEAR | undefined;

/** A name as readers see it for whom case makes no difference, the few letters that fold to ASCII included. */
export function folded(name: string): string {
  return name.toUpperCase().toLowerCase();
}
