import type { Stage } from "./stage.ts";

/** What of a route of the proxy is looked at. */
export interface NotedRoute {
  readonly methods: readonly string[];
  readonly path: string;
  readonly stream: string;
  readonly kind: "read" | "write" | "create";
  readonly id?: object | undefined;
  /** Where legacy's answer to a creation says the id. */
  readonly created?: object | undefined;
}

export interface PlanNote {
  readonly about: string;
  readonly says: string;
}

/** What becomes of requests that cannot be told apart by an aggregate while some have moved. */
export function routeNotes(type: string, routes: readonly NotedRoute[]): readonly PlanNote[] {
  const own = routes.filter(({ stream }) => stream === type);
  if (own.length === 0) {
    const says = `no route of the proxy is about ${type}: all of its requests go to legacy, whatever is moved`;
    return [{ about: "routes", says }];
  }
  const missing = own.some(({ kind }) => kind !== "read")
    ? []
    : [{ about: "routes", says: "no route writes: where are the writes?" }];
  return [...missing, ...own.flatMap(noteOf)];
}

function noteOf({ methods, path, kind, id, created }: NotedRoute): PlanNote[] {
  const about = `${methods.join(",")} ${path}`;
  if (id !== undefined) return [];
  switch (kind) {
    case "read":
      return [
        {
          about,
          says: "names no aggregate: stays with legacy until 100%, which reverse sync keeps complete",
        },
      ];
    case "write":
      return [
        {
          about,
          says: "names no aggregate: refused at canary, because it could reach the wrong side",
        },
      ];
    case "create":
      return created === undefined
        ? [
            {
              about,
              says: "does not say where legacy's answer has the new id (created): a client may come back before new knows it",
            },
          ]
        : [{ about, says: "at canary the side is drawn by chance, as large as the share" }];
  }
}

/** A unique key whose columns do not hold the key of the aggregate: a rule over several of them. */
export interface SpanningKey {
  readonly table: string;
  /** What is unique, as the database prints it. */
  readonly text: string;
}

/** @param stage not `complete`: nothing is left to be said then */
export function uniquenessNotes(keys: readonly SpanningKey[], stage: Stage): readonly PlanNote[] {
  const says =
    stage === "new"
      ? "is unique over all aggregates: legacy's index holds it as long as rows are written back; behind complete nobody does but the service"
      : "is unique over all aggregates: while two sides decide, only legacy's own index sees both: let the service wait for its row; a breach shows as a conflict of reverse sync";
  return keys.map(({ table, text }) => ({ about: `${table} (${text})`, says }));
}
