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
 * * a creation whose id is not known yet goes by chance: to new when what was drawn is below the share.
 *
 * @param drawn by chance, 0 to 9,999; absent: such a creation stays with legacy
 */
export function sideOf(
  stage: Stage,
  share: number,
  bucket: number | undefined,
  kind: RequestKind,
  drawn?: number,
): Side | "undecided" {
  switch (stage) {
    case "legacy":
    case "shadow":
      return "legacy";
    case "canary":
      if (bucket !== undefined) return bucket < share ? "new" : "legacy";
      if (kind === "write") return "undecided";
      return kind === "create" && drawn !== undefined && drawn < share ? "new" : "legacy";
    case "new":
    case "complete":
      return "new";
  }
}
