import type { CommandModule } from "yargs";
import { plural, renderTable, writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { BanyanError } from "../../model/errors.ts";

interface QuarantineArgs extends CommonArgs {
  readonly action: "list" | "retry" | "skip";
  readonly stream: string | undefined;
}

const LISTED_MAX = 1_000;

export const quarantineCommand: CommandModule<object, QuarantineArgs> = {
  command: "quarantine <action> [stream]",
  describe: "List changes that could not be mapped, map them again, or skip the first of a stream",
  builder: (y) =>
    y
      .positional("action", {
        choices: ["list", "retry", "skip"] as const,
        demandOption: true,
        describe: "skip drops the first parked change, then maps the rest",
      })
      .positional("stream", {
        type: "string",
        describe: "One stream; all when absent (not for skip)",
      }) as never,
  handler: (args) =>
    withSession(args, async ({ config, store }) => {
      const { quarantine } = await store();
      if (args.action === "list") {
        const filter = { pipeline: config.name, limit: LISTED_MAX };
        const records = await quarantine.list(
          args.stream === undefined ? filter : { ...filter, stream: args.stream },
        );
        // What was parked holds row contents; it stays in the store.
        const parked = records.map(({ change: _change, ...rest }) => rest);
        writeResult(args.json, { parked }, () =>
          parked.length === 0
            ? "quarantine is empty"
            : `${renderTable(
                ["stream", "operation", "table", "position", "code", "reason", "decision"],
                parked.map((p) => [
                  p.stream,
                  p.operation,
                  p.table,
                  p.position,
                  p.code,
                  p.reason,
                  p.decision,
                ]),
              )}\n${foreignNote(parked)}next: banyan quarantine retry [stream]  |  banyan quarantine skip <stream>`,
        );
        return;
      }
      if (args.action === "skip" && args.stream === undefined) {
        throw new BanyanError(
          "USAGE",
          "skip needs a stream, because what is skipped is lost to history",
          {
            hint: "Run: banyan quarantine list, then: banyan quarantine skip <stream>",
          },
        );
      }
      const streams = await quarantine.decide(config.name, args.stream, args.action);
      writeResult(args.json, { action: args.action, streams }, () =>
        streams === 0
          ? "nothing in quarantine matches"
          : `${plural(streams, "stream")}: ${args.action} noted; a running pipeline does it at once, else the next banyan run`,
      );
    }),
};

/** What to do about writes past the new service, which no mapping mends. */
function foreignNote(parked: readonly { readonly code: string }[]): string {
  if (!parked.some(({ code }) => code === "FOREIGN_WRITE")) return "";
  return (
    "FOREIGN_WRITE: set the row back and skip the change, or retry once legacy decides again; " +
    "find out who writes past the proxy (docs/errors.md)\n"
  );
}
