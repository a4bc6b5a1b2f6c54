import { stat } from "node:fs";
import { constants, setPriority } from "node:os";

/**
 * Lets all others run before the thread that calls it, and before those that it starts. Linux keeps a nice
 * value for each thread, and zero means the calling one (setpriority(2), "C library/kernel differences").
 * Elsewhere it is one of the whole process, so nothing is done there; nor where it is not allowed.
 */
export function lowerThreadPriority(): void {
  if (process.platform !== "linux") return;
  // The threads that all share are made by whoever needs them first, and get its priority.
  stat(".", () => undefined);
  try {
    setPriority(0, constants.priority.PRIORITY_LOW);
  } catch {
    // It works as well at the priority it has.
  }
}
