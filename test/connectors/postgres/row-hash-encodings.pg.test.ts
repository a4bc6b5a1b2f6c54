import { describe, expect, test } from "vitest";
import { capturedDatabase } from "./type-matrix-support.ts";
import { stream, table } from "../../../src/mapping/rules.ts";

/*
 * A database that keeps its text in another encoding hashes other bytes. Its rows are read and hashed
 * here, and the verdict is the same.
 */

const word = table<{ id: string; said: string }>("word");
const STREAMS = { word: stream(word, { otherwise: "Amended" }) };
const DDL = [
  "CREATE TABLE public.word (id text PRIMARY KEY, said text)",
  "ALTER TABLE public.word REPLICA IDENTITY FULL",
];

/** Texts of its letters; the second has none of Western Europe. */
const ENCODINGS = {
  LATIN1: ["Zürich", "é"],
  WIN1251: ["Мытищи", "ё"],
} as const;

for (const [encoding, [key, text]] of Object.entries(ENCODINGS)) {
  describe(`a database in ${encoding}`, () => {
    test("is found equal, and different where it is", async () => {
      await using captured = await capturedDatabase(
        `hash_${encoding}`,
        [...DDL, `INSERT INTO public.word VALUES ('${key}', '${text}'), ('plain', NULL)`],
        "word",
        STREAMS,
        { encoding },
      );
      await captured.capture.catchUp();
      await captured.write(`INSERT INTO public.word VALUES ('${text}', '${key}')`);
      expect(await captured.capture.verify()).toMatchObject({ state: "equal", compared: 3 });
      // What is written while the table is not published never reaches the log's reader.
      const publication = `"${captured.db.publication.replaceAll('"', '""')}"`;
      await captured.write(
        `BEGIN`,
        `ALTER PUBLICATION ${publication} DROP TABLE public.word`,
        `UPDATE public.word SET said = '' WHERE id = '${key}'`,
        `ALTER PUBLICATION ${publication} ADD TABLE public.word`,
        `COMMIT`,
      );
      const report = await captured.capture.verify();
      expect(report).toMatchObject({ state: "different", different: 1, missing: 0, extra: 0 });
      expect(report.samples).toEqual([
        {
          verdict: "different",
          table: "public.word",
          stream: `word-${key}`,
          key,
          columns: [{ column: "said", row: "", fold: text }],
        },
      ]);
    });
  });
}
