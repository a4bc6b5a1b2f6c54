import { expect, test } from "vitest";
import { changed, stream, table, updated } from "../../src/mapping/rules.ts";
import { change, compile, mapAll, shape, told } from "../support/mapping-fixtures.ts";

const notes = table<{ id: number; note: string }>("notes");
const notesShape = shape("public.notes", "*id:int4 note:text");

/** Cuts a text in two at a UTF-16 unit, as code that knows no surrogate pairs does. */
const mapping = compile(
  {
    note: stream(notes, {
      events: {
        Rewritten: updated(notes, changed("note"), {
          transform: {
            columns: ["note"],
            to: ({ note }) => ({ head: note.slice(0, 3), tail: note.slice(3) }),
            from: ({ head, tail }) => ({ note: `${String(head)}${String(tail)}` }),
          },
        }),
      },
      otherwise: "NoteAmended",
    }),
  },
  [notesShape],
);

test("a function that gives half a surrogate pair parks the change instead of stopping the capture", () => {
  const good = mapAll(mapping, [
    [change("update", notesShape, 1, ["7", "old"], ["7", "a🌳 and \\u0000 as text"])],
  ]);
  expect(good.parked).toEqual([]);
  expect(told(good)).toHaveLength(1);
  const bad = mapAll(mapping, [[change("update", notesShape, 1, ["7", "old"], ["7", "ab🌳"])]]);
  expect(bad.events.length).toBe(0);
  expect(bad.parked[0]).toMatchObject({ stream: "note-7", code: "VALUE_UNMAPPABLE" });
});
