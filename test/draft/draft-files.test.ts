import {
  lstatSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { applyPatch } from "diff";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeDrafted } from "../../src/cli/draft-files.ts";
import { signText } from "../../src/draft/signed-text.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "banyan-files-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const FIRST = signText("const a = 1;\nconst b = 2;\nconst c = 3;\n");
const SECOND = signText("const a = 1;\nconst b = 3;\nconst c = 3;\n");
const read = (): string => readFileSync(join(folder, "f.ts"), "utf8");

test("a file that is not there is written, its folder too", () => {
  expect(writeDrafted(join(folder, "x/y"), "f.ts", FIRST)).toEqual({
    path: join(folder, "x/y/f.ts"),
    state: "created",
  });
  expect(readFileSync(join(folder, "x/y/f.ts"), "utf8")).toBe(FIRST);
});

test("one that nobody edited is replaced, and the difference is shown", () => {
  writeDrafted(folder, "f.ts", FIRST);
  expect(writeDrafted(folder, "f.ts", FIRST)).toEqual({
    path: join(folder, "f.ts"),
    state: "unchanged",
  });
  const { state, diff } = writeDrafted(folder, "f.ts", SECOND);
  expect({ state, text: read() }).toEqual({ state: "replaced", text: SECOND });
  expect(diff!.startsWith("--- f.ts\tas it is\n+++ f.ts\tas drafted\n@@")).toBe(true);
  expect(diff).toContain("-const b = 2;\n+const b = 3;\n");
  expect(readdirSync(folder)).toEqual(["f.ts"]);
});

test("one that somebody edited is left as it is, and the difference is one that a patch takes", () => {
  const edited = FIRST.replace("const a = 1", "const a = 42");
  writeFileSync(join(folder, "f.ts"), edited);
  const { state, diff } = writeDrafted(folder, "f.ts", SECOND);
  expect({ state, text: read() }).toEqual({ state: "kept", text: edited });
  expect(applyPatch(edited, diff!)).toBe(SECOND);
  expect(readdirSync(folder)).toEqual(["f.ts"]);
});

test("a link stays one: the file that it leads to is replaced", () => {
  writeFileSync(join(folder, "real.ts"), FIRST);
  symlinkSync("real.ts", join(folder, "f.ts"));
  expect(writeDrafted(folder, "f.ts", SECOND).state).toBe("replaced");
  expect(lstatSync(join(folder, "f.ts")).isSymbolicLink()).toBe(true);
  expect(readFileSync(join(folder, "real.ts"), "utf8")).toBe(SECOND);
});

test("what cannot be written is said, and nothing is left half done", () => {
  writeFileSync(join(folder, "file"), "");
  expect(() => writeDrafted(join(folder, "file"), "f.ts", FIRST)).toThrow(/cannot be written/);
  expect(readdirSync(folder)).toEqual(["file"]);
});
