import type { CommandModule } from "yargs";
import { plural, writeResult } from "../output.ts";
import { withSession, type CommonArgs } from "../session.ts";
import { tellEvent } from "../story.ts";
import { streamUnknown } from "../stream-unknown.ts";
import type { RecordedEvent } from "../../model/event.ts";

interface HistoryArgs extends CommonArgs {
  readonly stream: string;
}

export const historyCommand: CommandModule<object, HistoryArgs> = {
  command: "history <stream>",
  describe: "Tell everything that happened to one aggregate, e.g. order-42",
  builder: (y) =>
    y.positional("stream", {
      type: "string",
      demandOption: true,
      describe: "Stream id: type and key",
    }) as never,
  handler: (args) =>
    withSession(args, async ({ config, store }) => {
      const events: RecordedEvent[] = [];
      const opened = await store();
      for await (const event of opened.readStream(args.stream)) events.push(event);
      if (events.length === 0) throw await streamUnknown(args.stream, config, opened);
      writeResult(args.json, { stream: args.stream, events }, () =>
        [`${args.stream}: ${plural(events.length, "event")}`, ...events.map(tellEvent)].join("\n"),
      );
    }),
};
