import { movingBuckets, type Standing } from "./move.ts";
import type { Move, ProxyNote } from "./rollout-store.ts";
import type { Stage } from "./stage.ts";

/** At canary and new a proxy that cannot read the store refuses by itself after less than this. */
export const PROXY_SILENT_MS_MAX = 15_000;
/** At legacy and shadow it goes on sending to legacy, however long it is cut off; one so old is gone. */
const PROXY_GONE_MS = 24 * 3_600_000;

/** The proxies that may still have a write under way which was decided before the hold. */
export function unacknowledged(
  { from, epoch, without }: Pick<Move, "from" | "epoch" | "without">,
  proxies: readonly ProxyNote[],
): readonly ProxyNote[] {
  return proxies.filter(
    (proxy) =>
      proxy.epoch < epoch &&
      proxy.ageMs <= countsFor(from.stage) &&
      !without.includes(proxy.instance),
  );
}

/** Those that a move would wait for and that say nothing any more. */
export function silent(
  from: Standing,
  to: Standing,
  without: readonly string[],
  proxies: readonly ProxyNote[],
): readonly ProxyNote[] {
  if (movingBuckets(from, to) === undefined) return [];
  const waitedFor = unacknowledged({ from, epoch: Number.POSITIVE_INFINITY, without }, proxies);
  return waitedFor.filter(({ ageMs }) => ageMs > PROXY_SILENT_MS_MAX);
}

/** Those that may still decide by what was before. One that reads nothing refuses by itself behind a hold. */
export function unaware(
  { epoch, without }: Pick<Move, "epoch" | "without">,
  proxies: readonly ProxyNote[],
): readonly ProxyNote[] {
  return proxies.filter(
    (proxy) =>
      proxy.knows < epoch &&
      proxy.ageMs <= PROXY_SILENT_MS_MAX &&
      !without.includes(proxy.instance),
  );
}

function countsFor(stage: Stage): number {
  return stage === "canary" || stage === "new" ? PROXY_SILENT_MS_MAX : PROXY_GONE_MS;
}

/** Why proxies are waited for, with what to do about one that will never answer. */
export function describeUnacknowledged(missing: readonly ProxyNote[]): string {
  const names = missing.map(({ place, instance, ageMs }) =>
    ageMs > PROXY_SILENT_MS_MAX
      ? `${place} (${instance}, not seen for ${Math.round(ageMs / 1000)} s; if it has ended: --without-proxy ${instance})`
      : `${place} (${instance})`,
  );
  return `not acknowledged by ${names.join(", ")}`;
}
