import { spawn } from "node:child_process";
import { readlinkSync, stat } from "node:fs";
import { constants, setPriority } from "node:os";

/**
 * Lets all others run before the thread that calls it, and before those that it starts. On Linux both a nice
 * value and a policy are of one thread (setpriority(2), sched(7)). Under SCHED_IDLE it gives way at once to
 * whoever wakes up, which one that is merely nice does not: that one counts as work that a processor has.
 * `chrt` of util-linux sets it. Elsewhere priorities are of the whole process, so nothing is done there; nor
 * where it is not allowed.
 */
export function lowerThreadPriority(): void {
  if (process.platform !== "linux") return;
  // The threads that all share are made by whoever needs them first, and get its priority.
  stat(".", () => undefined);
  try {
    setPriority(0, constants.priority.PRIORITY_LOW);
    const thread = readlinkSync("/proc/thread-self").split("/").at(-1)!;
    const chrt = spawn("chrt", ["-i", "-p", "0", thread], { stdio: "ignore" });
    chrt.on("error", () => undefined).unref();
  } catch {
    // It works as well at the priority it has.
  }
}
