import { randomInt, randomUUID } from "node:crypto";
import { eventRefused } from "./given-row.ts";
import type { RequestContext } from "./request-context.ts";
import type { StreamMapping, StreamRole } from "./stream-mapping.ts";
import { BanyanError } from "../model/errors.ts";
import type { EventStore } from "../store/event-store.ts";
import type { IdRequest } from "../store/service-store.ts";

interface Place {
  readonly store: EventStore;
  readonly pipeline: string;
  readonly streamType: string;
}

/** See `Aggregates.newId`. */
export async function newId(
  place: Place,
  { roles, definition }: StreamMapping,
  context: RequestContext,
): Promise<string> {
  return await take(place, roles.get(definition.root)!, context);
}

/** See `Aggregates.newRowId`. */
export async function newRowId(
  place: Place,
  { roles }: StreamMapping,
  context: RequestContext,
  role: string,
): Promise<string> {
  const of = roles.get(role);
  if (of === undefined) throw eventRefused(`no mapping of the store has rows called ${role}`);
  // A random UUID of a child row needs nobody's leave.
  if (formOf(of) === "uuid") return randomUUID();
  return await take(place, of, context, role);
}

/** Gives an id of {@link newId} back, that nothing was stored under. One that cannot be given back is a gap. */
export async function giveBack(
  { store, pipeline, streamType }: Place,
  { roles, definition }: StreamMapping,
  { mode }: RequestContext,
  id: string,
): Promise<void> {
  if (mode === "shadow") return;
  const form = formOf(roles.get(definition.root)!);
  await store.services.giveBack({ pipeline, streamType, form }, id).catch(() => undefined);
}

async function take(
  { store, pipeline, streamType }: Place,
  of: StreamRole,
  { mode }: RequestContext,
  role?: string,
): Promise<string> {
  const form = formOf(of);
  if (mode === "shadow") return form === "uuid" ? randomUUID() : `-${randomInt(1, 2 ** 31)}`;
  const asked: IdRequest = { pipeline, streamType, form, ...(role !== undefined && { role }) };
  const id = await store.services.takeId(asked);
  if (id !== undefined) return id;
  const what = role === undefined ? streamType : `${streamType}/${role}`;
  throw new BanyanError("RESERVED_IDS_EMPTY", `no id is reserved for a new ${what}`, {
    detail: { pipeline, streamType: what },
    hint: "Answer 503 with Retry-After. banyan rollout run reserves ids: see that it runs and can reach the legacy database.",
  });
}

function formOf({ table }: StreamRole): IdRequest["form"] {
  const [index, ...more] = table.key;
  const { type } = table.columns[index!]!;
  if (more.length === 0) {
    if (/^int[248]$/.test(type)) return "integer";
    if (/^(uuid|text|varchar(\(\d+\))?)$/.test(type)) return "uuid";
  }
  throw eventRefused(
    `the key of ${table.name} is not one that can be drawn`,
    "Give the id yourself",
  );
}
