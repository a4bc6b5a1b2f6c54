import type { Side, Stage } from "./stage.ts";

/** What a request does to the aggregate that it names. */
export type RequestKind = "read" | "write" | "create";

/**
 * Which side answers a request: the whole rule, and nothing else decides. A request that names no
 * aggregate has no bucket; a write or a creation that names one unclearly never comes here. At `canary` both
 * sides hold authority over some, so there
 *
 * * a write that names none is `undecided`, and must be refused: either side could be the wrong one;
 * * a read that names none (a list) stays with legacy, which reverse sync keeps in step;
 * * a creation whose id is not known yet stays with legacy.
 */
export function sideOf(
  stage: Stage,
  share: number,
  bucket: number | undefined,
  kind: RequestKind,
): Side | "undecided" {
  switch (stage) {
    case "legacy":
    case "shadow":
      return "legacy";
    case "canary":
      if (bucket !== undefined) return bucket < share ? "new" : "legacy";
      return kind === "write" ? "undecided" : "legacy";
    case "new":
    case "complete":
      return "new";
  }
}
