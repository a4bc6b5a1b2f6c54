import { createHash } from "node:crypto";
import { z } from "zod";
import type { DraftAnswers } from "./answers.ts";

/*
 * The last line of a drafted file holds the hash of everything above it: it tells whether somebody has
 * edited the file since. What a person answered when asked stands in the line before it.
 */

const SIGNATURE = /^\/\/ banyan draft: unedited ([0-9a-f]{64})$/;
const ANSWERS = /^\/\/ banyan draft: asked (\{.*\})$/;

const answersSchema = z.strictObject({
  aggregates: z.array(z.string()).optional(),
  owners: z.record(z.string(), z.string()).optional(),
  events: z
    .record(z.string(), z.string().regex(/^[A-Z][a-zA-Z0-9]*$/))
    .refine((events) => {
      const names = Object.values(events).map((name) => name.toLowerCase());
      return new Set(names).size === names.length;
    })
    .optional(),
});

/** Adds the last lines. */
export function signText(text: string, answers?: DraftAnswers): string {
  const lines = [text.trimEnd(), ""];
  if (answers !== undefined && Object.keys(answers).length > 0)
    lines.push(`// banyan draft: asked ${JSON.stringify(answers)}`);
  const body = lines.join("\n");
  return `${body}${body.endsWith("\n") ? "" : "\n"}// banyan draft: unedited ${hashOf(body)}\n`;
}

/** Whether a file is as it was drafted, however its lines end. */
export function isUnedited(text: string): boolean {
  const lines = text.replaceAll("\r\n", "\n").trimEnd().split("\n");
  const signed = SIGNATURE.exec(lines.at(-1)!)?.[1];
  return signed !== undefined && signed === hashOf(lines.slice(0, -1).join("\n"));
}

/** What a person answered for an earlier draft; undefined when nothing, or when it cannot be read any more. */
export function answersIn(text: string): DraftAnswers | undefined {
  for (const line of text.split(/\r?\n/)) {
    const json = ANSWERS.exec(line)?.[1];
    if (json === undefined) continue;
    try {
      return answersSchema.parse(JSON.parse(json)) as DraftAnswers;
    } catch {
      return undefined;
    }
  }
  return undefined;
}

function hashOf(body: string): string {
  return createHash("sha256").update(body.replaceAll("\r\n", "\n").trimEnd()).digest("hex");
}
