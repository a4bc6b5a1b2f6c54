import type { RouteSettings } from "./settings.ts";
import type { Side } from "../rollout/stage.ts";

/** What reads are counted by: one number for a route, GET or HEAD, and who answered. */
export interface ReadKind {
  readonly route: RouteSettings;
  readonly method: string;
  /** Who answers the client. */
  readonly side: Side;
}

/** Numbers of one route. */
const KEYS_PER_ROUTE = 4;

/** @param at place of the route among those of the config */
export function readKey(at: number, method: string, side: Side): number {
  return at * KEYS_PER_ROUTE + (method === "HEAD" ? 2 : 0) + (side === "new" ? 1 : 0);
}

/** @param key of {@link readKey}, with the same routes */
export function kindOf(key: number, routes: readonly RouteSettings[]): ReadKind {
  return {
    route: routes[Math.floor(key / KEYS_PER_ROUTE)]!,
    method: (key & 2) === 0 ? "GET" : "HEAD",
    side: (key & 1) === 0 ? "legacy" : "new",
  };
}

/** `GET /orders/:id`. */
export function nameOf({ method, route }: Pick<ReadKind, "method" | "route">): string {
  return `${method} ${route.path}`;
}
