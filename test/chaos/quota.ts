import { execFileSync } from "node:child_process";
import { statfsSync } from "node:fs";

/** A folder with a disk of its own, whose size can be taken down to what is in it. */
export interface Quota extends Disposable {
  /** Leaves room for so many bytes more. */
  fill(bytesLeft: number): void;
  free(): void;
}

const SIZE_MB = 4_096;
const ATTEMPTS_MAX = 20;

/** @returns undefined, with the reason, where this machine does not let us mount one */
export function mountQuota(dir: string): Quota | string {
  if (process.platform !== "linux") return `there is no tmpfs on ${process.platform}`;
  if (process.getuid?.() !== 0) return "only root may mount a tmpfs";
  try {
    mount(dir, "-t", "tmpfs", "-o", `size=${SIZE_MB}m`, "banyan-chaos");
  } catch (error) {
    return `a tmpfs cannot be mounted: ${(error as Error).message.trim().split("\n").at(-1)}`;
  }
  return {
    fill(bytesLeft) {
      for (let attempt = 1; ; attempt++) {
        const { blocks, bfree, bsize } = statfsSync(dir);
        const used = (blocks - bfree) * bsize;
        try {
          return mount(dir, "-o", `remount,size=${Math.ceil((used + bytesLeft) / 4096) * 4}k`);
        } catch (error) {
          // Refused when more than that was written meanwhile.
          if (attempt === ATTEMPTS_MAX) throw error;
        }
      }
    },
    free: () => mount(dir, "-o", `remount,size=${SIZE_MB}m`),
    [Symbol.dispose]: () => unmount(dir),
  };
}

export function unmount(dir: string): void {
  try {
    execFileSync("umount", [dir], { stdio: "ignore" });
  } catch {
    // It was not mounted, or what is in it is in use still: then the folder cannot be removed, which shows.
  }
}

function mount(dir: string, ...options: readonly string[]): void {
  execFileSync("mount", [...options, dir], { stdio: ["ignore", "ignore", "pipe"] });
}
