import type { CommandModule } from "yargs";
import {
  bytes,
  count,
  describeBaseline,
  describeLogLeft,
  describeNotReadAnew,
  plural,
  renderTable,
  writeResult,
} from "../output.ts";
import { parityNote, type ParityNote } from "../parity-note.ts";
import { reverseNote, reverseRows, type ReverseNote } from "../reverse-note.ts";
import { isKeptCurrent } from "../running.ts";
import { withSession, type CommonArgs } from "../session.ts";
import type { MappingCoverage } from "../../mapping/coverage.ts";
import { BanyanError } from "../../model/errors.ts";
import type { BaselineProgress, PipelineStatus } from "../../pipeline/status.ts";
import type { LogLeft } from "../../source/change-source.ts";
import type { BaselineRecord, FeedHold, PipelineRecord } from "../../store/event-store.ts";

export const statusCommand: CommandModule<object, CommonArgs> = {
  command: "status",
  describe: "Say where the pipeline stands",
  builder: (y) => y as never,
  handler: (args) =>
    withSession(args, async ({ config, store, source }) => {
      const record = await (await store()).pipeline(config.name);
      if (record === undefined) {
        throw new BanyanError("PIPELINE_UNKNOWN", `pipeline ${config.name} has never run`, {
          hint: "Run: banyan run",
        });
      }
      const status = record.status as PipelineStatus;
      const quarantined = await (await store()).quarantine.count(config.name);
      const head = await (await source()).head(record.checkpoint).catch(() => undefined);
      const ageMs = Date.now() - Date.parse(record.updatedAt);
      const running = isKeptCurrent(record);
      const document = {
        ...status,
        pipeline: record.name,
        phase: record.phase,
        running,
        sourceReachable: head !== undefined,
        positions: {
          checkpoint: record.checkpoint,
          baseline: record.baselinePosition,
          head: head?.position ?? status.positions?.head,
        },
        lag: { bytes: head?.lagBytes ?? status.lag?.bytes ?? 0, seconds: status.lag?.seconds ?? 0 },
        ledger: record.ledger,
        quarantine: { streams: quarantined },
        parity: await parityNote(await store(), config.name),
        reverse: await reverseNote(await store(), config.name),
        updatedAt: record.updatedAt,
      };
      const { baselinePaused } = await (await store()).requests(config.name);
      const hold = await (await store()).feedHold();
      writeResult(args.json, document, () =>
        [
          describe(record, document, ageMs, head?.logLeft, baselinePaused),
          ...describeCoverage(document.coverage),
          ...describeHold(hold),
          ...(document.notReadAnew ?? []).map(describeNotReadAnew),
        ].join("\n"),
      );
    }),
};

function describe(
  { ledger, baselines = [] }: PipelineRecord,
  status: Pick<
    PipelineStatus,
    | "pipeline"
    | "phase"
    | "positions"
    | "lag"
    | "rates"
    | "quarantine"
    | "failure"
    | "coverage"
    | "mapping"
    | "baseline"
  > & {
    readonly parity: ParityNote | undefined;
    readonly reverse: ReverseNote | undefined;
    readonly running: boolean;
    readonly sourceReachable: boolean;
  },
  ageMs: number,
  logLeft: LogLeft | undefined,
  paused: boolean,
): string {
  const unfinished = baselines.filter(({ done }) => !done);
  const age = `${Math.round(ageMs / 1000)} s ago`;
  const rows = [
    [
      "pipeline",
      `${status.pipeline}, ${status.running ? `running (${status.phase})` : `not running; last seen ${age}`}`,
    ],
    ...(status.failure === undefined
      ? []
      : [
          [
            status.running ? "tries again after" : "ended with",
            `[${status.failure.code}] ${status.failure.message}`,
          ],
          ["  next", status.failure.hint],
        ]),
    ...(status.mapping === undefined
      ? []
      : [
          [
            "mapping",
            `version ${status.mapping.version}${status.mapping.since === undefined ? "" : `, since ${status.mapping.since}`}`,
          ],
        ]),
    ["checkpoint", status.positions.checkpoint ?? "none yet"],
    ["baseline", status.positions.baseline ?? "not complete"],
    ...baselineRows(unfinished, status.baseline, paused),
    ["lag", describeLag(status)],
    ...(logLeft === undefined ? [] : [["place in the log", `lost ${describeLogLeft(logLeft)}`]]),
    ["changes in", count(ledger.changesIn)],
    ["  named events", count(ledger.changesClaimed)],
    ["  fallback", count(ledger.changesFallback)],
    ["  no effect", count(ledger.changesUnchanged)],
    [
      "  quarantine",
      `${count(ledger.changesParked)} (waiting now: ${plural(status.quarantine.streams, "stream")})`,
    ],
    ...(ledger.changesEchoed === 0 ? [] : [["  echoes", count(ledger.changesEchoed)]]),
    ["parity", describeParityNote(status.parity)],
    ...reverseRows(status.reverse),
    ["aggregates baselined", count(ledger.baselined)],
    ["events", count(ledger.events)],
  ];
  return renderTable(["", ""], rows).replace(/^\s*\n/, "");
}

/** Bytes are asked of the source now; how long a change has waited only the running process knows. */
export function describeLag({
  lag,
  running,
  sourceReachable,
}: Pick<PipelineStatus, "lag"> & {
  readonly running: boolean;
  readonly sourceReachable: boolean;
}): string {
  const away = sourceReachable ? "" : " (source not reachable)";
  const then = running ? "" : " when it was last seen";
  return `${bytes(lag.bytes)}${away}, ${lag.seconds.toFixed(1)} s${then}`;
}

function describeParityNote(parity: ParityNote | undefined): string {
  if (parity === undefined) return "never verified; run: banyan verify";
  const { state, compared, missing, extra, different, findings } = parity;
  const age = Math.round((Date.now() - Date.parse(parity.verifiedAt)) / 1000);
  const found =
    state === "different"
      ? `: ${count(missing)} missing, ${count(extra)} extra, ${count(different)} different (${count(findings.settled)} settled)`
      : "";
  return `${state}${found}, ${plural(compared, "row")} compared ${count(age)} s ago${parity.stale ? "; too old to say anything" : ""}`;
}

/** How far a baseline in chunks has come, while there is one. */
function baselineRows(
  unfinished: readonly BaselineRecord[],
  progress: BaselineProgress | undefined,
  paused: boolean,
): string[][] {
  if (unfinished.length === 0) return [];
  const streams = unfinished.map(({ stream }) => stream).join(", ");
  const far =
    progress === undefined ? [] : [["  so far", describeBaseline({ ...progress, paused })]];
  return [["  unfinished", `of ${streams}`], ...far];
}

/** What the fallback tells although a rule could. */
function describeCoverage(coverage: MappingCoverage | undefined): readonly string[] {
  if (coverage === undefined) return [];
  const { named, fallback } = coverage.changes;
  const share = ((100 * named) / (named + fallback)).toFixed(1);
  return [
    `told by named events alone since the start: ${share} % of ${plural(named + fallback, "change")}`,
    ...coverage.suggestions.map(({ message }) => `  ${message}`),
  ];
}

/** Readers see nothing that was written after a transaction which is still open. */
function describeHold(hold: FeedHold | undefined): readonly string[] {
  if (hold === undefined) return [];
  const lines = hold.holders.map(
    ({ what, openSeconds }) => `  ${what}, open for ${count(openSeconds)} s`,
  );
  return [
    `readers of all events wait: ${plural(hold.events, "event")} came after a transaction that is still open`,
    ...lines,
  ];
}
