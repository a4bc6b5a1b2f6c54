import { describe, expect, test } from "vitest";
import { answersIn, isUnedited, signText } from "../../src/draft/signed-text.ts";

const TEXT = "// a\nexport const a = 1;";
const ANSWERS = {
  owners: { "public.a": "public.b" },
  events: { "public.a insert": "AMade", 'public.it\'s "b" delete': "BGone" },
};

describe("a drafted file knows whether somebody edited it", () => {
  test("not as it was written, also with other ends of lines or no end of the last one", () => {
    for (const signed of [signText(TEXT), signText(TEXT, ANSWERS)]) {
      expect(signed.startsWith(TEXT)).toBe(true);
      for (const same of [signed, signed.replaceAll("\n", "\r\n"), signed.trimEnd(), `${signed}\n`])
        expect(isUnedited(same)).toBe(true);
    }
  });

  test("any other change is an edit, wherever it is made", () => {
    const signed = signText(TEXT, ANSWERS);
    for (let at = 0; at < signed.trimEnd().length; at++) {
      const edited = `${signed.slice(0, at)}_${signed.slice(at + 1)}`;
      expect(isUnedited(edited), edited).toBe(false);
    }
    expect(isUnedited(`${signed}export const b = 2;\n`)).toBe(false);
    expect(isUnedited(signed.split("\n").slice(1).join("\n"))).toBe(false);
  });

  test("a file of another origin counts as edited", () => {
    for (const text of ["", "\n", TEXT, `${TEXT}\n// banyan draft: unedited ${"0".repeat(64)}\n`])
      expect(isUnedited(text)).toBe(false);
  });
});

describe("what a person answered", () => {
  test("is kept in the file, and read again", () => {
    expect(answersIn(signText(TEXT, ANSWERS))).toEqual(ANSWERS);
    expect(answersIn(signText(TEXT, ANSWERS).replaceAll("\n", "\r\n"))).toEqual(ANSWERS);
    expect(answersIn(signText(TEXT))).toBeUndefined();
    expect(signText(TEXT, {})).toBe(signText(TEXT));
  });

  test("counts as none when it cannot be read", () => {
    const lines = [
      "{",
      '{"owners":1}',
      '{"other":{}}',
      "[]",
      '{"events":{"a":"not a name"}}',
      '{"events":{"a":"A","b":"a"}}',
    ];
    for (const line of [...lines, '{"events":{"a":"A","b":"A"}}'])
      expect(answersIn(`${TEXT}\n// banyan draft: asked ${line}\n`)).toBeUndefined();
  });
});
