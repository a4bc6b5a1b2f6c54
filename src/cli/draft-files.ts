import { mkdirSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { createTwoFilesPatch, FILE_HEADERS_ONLY } from "diff";
import { isUnedited } from "../draft/signed-text.ts";
import { BanyanError } from "../model/errors.ts";

/** What became of a drafted file. */
export interface DraftedFile {
  readonly path: string;
  /** `kept`: edited by hand, so that what would have been written is only shown. */
  readonly state: "created" | "replaced" | "unchanged" | "kept";
  /** From what was there to what was drafted; absent when there was nothing, or nothing else. */
  readonly diff?: string;
}

/**
 * Writes a drafted file, unless somebody has edited the one that is there. Whole or not at all: a
 * reader sees the old text or the new one.
 *
 * @throws BanyanError `USAGE` when it cannot be written
 */
export function writeDrafted(directory: string, name: string, text: string): DraftedFile {
  const path = join(directory, name);
  const present = readIfThere(path);
  if (present === text) return { path, state: "unchanged" };
  if (present === undefined) {
    writeWhole(path, text);
    return { path, state: "created" };
  }
  const diff = createTwoFilesPatch(name, name, present, text, "as it is", "as drafted", {
    headerOptions: FILE_HEADERS_ONLY,
  });
  if (!isUnedited(present)) return { path, state: "kept", diff };
  writeWhole(realpathSync(path), text);
  return { path, state: "replaced", diff };
}

/** Undefined when there is no such file. @throws BanyanError `USAGE` */
export function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw unwritable(path, cause);
  }
}

function writeWhole(path: string, text: string): void {
  // In the same folder, because a rename does not cross file systems.
  const beside = `${path}.${process.pid}.tmp`;
  try {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(beside, text, { flag: "wx", flush: true });
    renameSync(beside, path);
  } catch (cause) {
    rmSync(beside, { force: true });
    throw unwritable(path, cause);
  }
}

function unwritable(path: string, cause: unknown): BanyanError {
  return new BanyanError("USAGE", `${path} cannot be written`, {
    cause,
    hint: cause instanceof Error ? cause.message : "Name another folder with --out DIR",
  });
}
