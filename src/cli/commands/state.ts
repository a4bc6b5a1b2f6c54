import type { CommandModule } from "yargs";
import { numberOption } from "../number-option.ts";
import { writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { streamUnknown } from "../stream-unknown.ts";
import { streamTypeOf } from "../../mapping/stream-id.ts";
import { compileMapping, type plannedTables } from "../../mapping/compile.ts";
import { BanyanError, EXIT } from "../../model/errors.ts";
import type { RecordedEvent } from "../../model/event.ts";
import { Folder, type Inverses, type StreamState } from "../../projection/fold.ts";

interface StateArgs extends CommonArgs {
  readonly stream: string;
  readonly at: string | undefined;
  readonly version: number | undefined;
}

export const stateCommand: CommandModule<object, StateArgs> = {
  command: "state <stream>",
  describe: "Show one aggregate as it is, or as it was at a time or version",
  builder: (y) =>
    y
      // Ahead of the option of that name, which would mean the program's own version otherwise.
      .version(false)
      .positional("stream", {
        type: "string",
        demandOption: true,
        describe: "Stream id, e.g. order-42",
      })
      .option("at", { type: "string", describe: "ISO 8601 time, e.g. 2026-01-31T10:00:00Z" })
      .option(
        "version",
        numberOption("version", {
          min: 1,
          max: 2 ** 31 - 1,
          describe: "After this event of the stream",
        }),
      )
      .conflicts("at", "version") as never,
  handler: (args) =>
    withSession(args, async ({ config, store }) => {
      const untilUs = parseTime(args.at);
      const opened = await store();
      const all: RecordedEvent[] = [];
      for await (const event of opened.readStream(args.stream)) all.push(event);
      const first = all[0];
      if (first === undefined) throw await streamUnknown(args.stream, config, opened);
      const events = all.filter(
        (event) =>
          (args.version === undefined || event.version <= args.version) &&
          (untilUs === undefined || microseconds(event.time) <= untilUs),
      );
      const last = events.at(-1);
      if (last === undefined) {
        // Before its baseline an aggregate's past is not invented; before its first event it did not exist.
        const unknown = first.origin === "baseline";
        const says = unknown
          ? `unknown before ${first.time}`
          : `did not exist before ${first.time}`;
        writeResult(
          args.json,
          { stream: args.stream, known: !unknown, state: null, says },
          () => says,
        );
        process.exitCode = unknown ? EXIT.findings : EXIT.ok;
        return;
      }
      refuseForeign(events);
      const mappings = await opened.mappings();
      const folder = new Folder(mappings, inversesOf(config.streams));
      const state: StreamState = new Map();
      for (const event of events) folder.apply(state, event);
      const rows = folder.toJson(streamTypeOf(args.stream), state);
      const exists = [...state.values()].some((role) => role.size > 0);
      const document = {
        stream: args.stream,
        known: true,
        exists,
        version: last.version,
        time: last.time,
        state: exists ? rows : null,
      };
      writeResult(args.json, document, () =>
        exists
          ? `${args.stream} after event ${last.version} (${last.type}, ${last.time})\n${JSON.stringify(rows, null, 2)}`
          : `${args.stream} was gone after event ${last.version} (${last.type}, ${last.time})`,
      );
    }),
};

/** What a service appended without the shapes of a mapping has a meaning that only the service knows. */
function refuseForeign(events: readonly RecordedEvent[]): void {
  const foreign = events.find(({ mappingVersion }) => mappingVersion === undefined);
  if (foreign === undefined) return;
  const { stream, version, type } = foreign;
  throw new BanyanError(
    "USAGE",
    `event ${version} of ${stream}, ${type}, was appended by a service, and no rule of the config says how it folds`,
    { hint: `Run: banyan history ${stream}, or: banyan state ${stream} --version N, before it` },
  );
}

/** Inverses of rules that use a function need no table shapes. */
function inversesOf(streams: Parameters<typeof plannedTables>[0]): Inverses {
  return compileMapping(streams, []).inverses();
}

/** The last microsecond that is meant: a time to the millisecond, as `history` shows it, is all of that. */
function parseTime(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const us = microseconds(text);
  if (!Number.isNaN(us)) return /\.\d{4}/.test(text) ? us : us + 999;
  throw new BanyanError("USAGE", `--at "${text}" is not a time`, {
    hint: "Write ISO 8601, e.g. --at 2026-01-31T10:00:00Z",
  });
}

/** Since 1970. A date of the platform ends at milliseconds. */
function microseconds(time: string): number {
  const below = /\.\d{3}(\d{1,3})/.exec(time)?.[1] ?? "";
  return Date.parse(time) * 1000 + Number(below.padEnd(3, "0"));
}
