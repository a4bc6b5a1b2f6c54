import { execFileSync } from "node:child_process";
import { existsSync, realpathSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { embeddedFailure } from "./embedded-failure.ts";

/** Who runs the server when we are root, because Postgres refuses to. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

const NAME = "postgres";

/** Each makes a system user without a home and without a login; the first for glibc systems, the second for busybox. */
const WAYS_TO_ADD: readonly (readonly [string, ...string[]])[] = [
  ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", NAME],
  ["adduser", "-S", "-D", "-H", "-s", "/bin/false", NAME],
];

/**
 * The user to run the server as; undefined means ourselves. As root it is the system's `postgres`,
 * added if there is none.
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED` when that user cannot be added
 */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const found = lookUp();
  if (found !== undefined) return found;
  for (const [command, ...parameters] of WAYS_TO_ADD) {
    try {
      execFileSync(command, parameters, { stdio: "ignore" });
    } catch {
      continue; // Not a command of this system; the look-up below tells.
    }
    const added = lookUp();
    if (added !== undefined) return added;
  }
  throw embeddedFailure(
    "Postgres does not run as root, and the user postgres could not be added",
    "Run: useradd --system --user-group postgres; or run banyan as another user",
  );
}

/**
 * Whether `user` can get to a path and pass through it: by the permission bits of the folder
 * and of every folder above it.
 */
export function isReachable(path: string, user: ServerUser): boolean {
  let at = resolve(path);
  while (!existsSync(at)) at = dirname(at);
  for (at = realpathSync(at); ; at = dirname(at)) {
    const { mode, uid, gid } = statSync(at);
    const passes = uid === user.uid ? 0o100 : gid === user.gid ? 0o010 : 0o001;
    if ((mode & passes) === 0) return false;
    if (at === dirname(at)) return true;
  }
}

function lookUp(): ServerUser | undefined {
  const id = (flag: string): number =>
    Number(
      execFileSync("id", [flag, NAME], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
    );
  try {
    return { uid: id("-u"), gid: id("-g") };
  } catch {
    return undefined;
  }
}
