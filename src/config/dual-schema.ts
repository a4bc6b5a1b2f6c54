import { z } from "zod";

const COLUMN = z.string().min(1).max(200);
const COLUMNS_MAX = 1_000;

/** The shape of `dual` in a config: what may differ between two sides that decided the same. */
export const dualSchema = z.strictObject({
  normalise: z
    .record(
      z.string(),
      z.strictObject({
        ignore: z.array(COLUMN).max(COLUMNS_MAX).default([]),
        generated: z.record(z.string(), z.array(COLUMN).min(1).max(COLUMNS_MAX)).default({}),
        timestampsWithinMs: z.int().min(0).max(86_400_000).default(0),
      }),
    )
    .default({}),
  compareEvents: z.boolean().default(false),
  windowSeconds: z.int().min(1).max(3_600).default(10),
});

/** A stream type as far as its rows have names. */
type Streams = Readonly<Record<string, { readonly children: Readonly<Record<string, unknown>> }>>;

/** Stream types and roles that the config does not have; columns are checked where the mapping is known. */
export function refuseUnknownRoles(
  { normalise }: z.output<typeof dualSchema>,
  streams: Streams,
  context: z.core.$RefinementCtx,
): void {
  for (const [type, { generated }] of Object.entries(normalise)) {
    const path = ["dual", "normalise", type];
    if (!Object.hasOwn(streams, type)) {
      const message = `is none of the streams: ${Object.keys(streams).join(", ")}`;
      context.addIssue({ code: "custom", path, message });
      continue;
    }
    const roles = [type, ...Object.keys(streams[type]!.children)];
    for (const role of Object.keys(generated)) {
      if (roles.includes(role)) continue;
      const message = `is no table of ${type}: ${roles.join(", ")}`;
      context.addIssue({ code: "custom", path: [...path, "generated", role], message });
    }
  }
}
