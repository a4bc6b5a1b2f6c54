import { renderTable } from "./output.ts";
import { PROXY_SILENT_MS_MAX } from "../rollout/acknowledged.ts";
import type { GateAnswer } from "../rollout/gates.ts";
import type { LogEntry, Move, ProxyNote, StandingRollout } from "../rollout/rollout-store.ts";
import type { PlanNote } from "../rollout/route-notes.ts";
import type { Standing } from "../rollout/move.ts";
import { describeStanding } from "../rollout/standing-text.ts";

const SIGNS = { pass: "✓", fail: "✗", inconclusive: "?" } as const;

export function gatesText(gates: readonly GateAnswer[]): readonly string[] {
  const width = Math.max(0, ...gates.map(({ gate }) => gate.length));
  return gates.map(({ gate, state, says, forced }) => {
    const passed = forced && state !== "pass" ? " (passed over)" : "";
    return `  ${SIGNS[state]} ${gate.padEnd(width)}  ${says}${passed}`;
  });
}

export function notesText(notes: readonly PlanNote[]): readonly string[] {
  return notes.map(({ about, says }) => `  ! ${about}: ${says}`);
}

export function moveText({ kind, type, from, to, outcome, reason, step }: Move): string {
  const what = `${type}: ${kind} from ${describeStanding(from)} to ${describeStanding(to)}`;
  if (outcome === undefined) return `${what} is under way (${step})`;
  return outcome === "done"
    ? `✓ ${what} is done${reason === undefined ? "" : `; ${reason}`}`
    : `✗ ${what} was undone: ${reason ?? "for no reason given"}`;
}

/** What `rollout status` shows of a stream type. */
export interface TypeStatus {
  readonly type: string;
  readonly stage: string;
  /** Buckets that have moved. */
  readonly share: number;
  readonly epoch: number;
  readonly paused: boolean;
  readonly since?: string;
  readonly held?: { readonly from: number; readonly to: number; readonly leftMs: number };
  readonly proxies: readonly ProxyNote[];
}

export function statusOf(
  type: string,
  standing: StandingRollout | undefined,
  proxies: readonly ProxyNote[],
): TypeStatus {
  if (standing === undefined)
    return { type, stage: "legacy", share: 0, epoch: 0, paused: false, proxies };
  const { stage, share, epoch, paused, since, hold } = standing;
  const status = { type, stage, share, epoch, paused, since, proxies };
  return hold === undefined ? status : { ...status, held: hold };
}

/** One that was killed leaves its name, until it is a day old. */
function proxiesText(proxies: readonly ProxyNote[]): string {
  const silent = proxies.filter(({ ageMs }) => ageMs > PROXY_SILENT_MS_MAX).length;
  const running = proxies.length - silent;
  return silent === 0 ? String(running) : `${running}, and ${silent} not seen`;
}

export function statusText(types: readonly TypeStatus[], moves: readonly Move[]): string {
  const rows = types.map(({ type, stage, share, epoch, paused, since, held, proxies }) => [
    type,
    describeStanding({ stage: stage as never, share }) + (paused ? ", paused" : ""),
    since?.slice(0, 19).replace("T", " ") ?? "",
    held === undefined ? "" : `${held.from} to ${held.to}, ${Math.round(held.leftMs)} ms left`,
    proxiesText(proxies),
    String(epoch),
  ]);
  const table = renderTable(["stream", "stands at", "since", "held", "proxies", "epoch"], rows);
  const under = moves.filter(({ outcome }) => outcome === undefined).map(moveText);
  return [table, ...under].join("\n");
}

/** As the store of moves writes it; each entry has some of it. */
interface EntryDetail {
  readonly from?: Standing | number;
  readonly to?: Standing | number;
  readonly forced?: readonly string[];
  readonly reason?: string;
}

function detailText({ from, to, forced = [], reason }: EntryDetail): string {
  const between =
    typeof from === "object" && typeof to === "object"
      ? `, ${describeStanding(from)} to ${describeStanding(to)}`
      : "";
  const passed = forced.length === 0 ? "" : `, passed over: ${forced.join(", ")}`;
  return `${between}${passed}${reason === undefined ? "" : `: ${reason}`}`;
}

export function logText(entries: readonly LogEntry[]): string {
  if (entries.length === 0) return "nothing was decided yet";
  const rows = entries.map(({ at, type, what, who, why, epoch, detail }) => [
    at.slice(0, 19).replace("T", " "),
    type,
    what + detailText(detail as EntryDetail),
    String(epoch),
    who,
    why,
  ]);
  return renderTable(["at", "stream", "what", "epoch", "who", "why"], rows);
}
