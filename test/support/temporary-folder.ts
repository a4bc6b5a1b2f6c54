import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";

const IN_MEMORY = "/dev/shm";
const FREE_BYTES_MIN = 4 * 1024 ** 3;

/**
 * Where tests make their files: in memory where that has room and runs programs, else where the system
 * says. Most of a test server's work is to make and to drop databases of a thousand small files each,
 * and ext4 goes long ways around the inodes of files that were removed just now.
 */
export function temporaryFolder(): string {
  const isAsked = (process.env["TMPDIR"] ?? "") !== "";
  return !isAsked && hasRoom() && runsPrograms() ? IN_MEMORY : tmpdir();
}

function hasRoom(): boolean {
  try {
    const { bavail, bsize } = statfsSync(IN_MEMORY);
    return bavail * bsize >= FREE_BYTES_MIN && freemem() >= FREE_BYTES_MIN;
  } catch {
    return false;
  }
}

/** Containers often mount it without the right to. */
function runsPrograms(): boolean {
  let folder: string | undefined;
  try {
    folder = mkdtempSync(join(IN_MEMORY, "banyan-try-"));
    const program = join(folder, "program");
    writeFileSync(program, "#!/bin/sh\n", { mode: 0o755 });
    execFileSync(program, { stdio: "ignore" });
    return true;
  } catch {
    return false;
  } finally {
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
  }
}
