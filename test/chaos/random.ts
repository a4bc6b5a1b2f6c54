import { setTimeout as sleep } from "node:timers/promises";

export type Random = () => number;

export function between(random: Random, min: number, max: number): number {
  return min + Math.floor(random() * (max - min + 1));
}

export function oneOf<T>(random: Random, choices: readonly T[]): T {
  return choices[Math.floor(random() * choices.length)]!;
}

/** Waits so long, or until the round ends. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined);
}

export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`;
}
