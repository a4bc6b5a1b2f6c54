import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { embeddedFailure, orFail } from "./embedded-failure.ts";
import { isReachable, type ServerUser } from "./server-user.ts";

/** The files of one server: its data, its password, its log. */
export interface Cluster {
  /** Holds everything below. */
  readonly home: string;
  readonly dataDir: string;
  readonly logFile: string;
  readonly superuser: string;
  readonly password: string;
}

export const SUPERUSER = "banyan";

/** What the server and initdb see of our environment: nothing that changes language, time zone or libraries. */
export const SERVER_ENVIRONMENT = { PATH: "/usr/bin:/bin", LC_ALL: "C", TZ: "UTC" };

/** Where data goes that the server's user could not reach in the folder asked for. */
const ELSEWHERE = "/var/lib/banyan";
/** In the folder asked for: says where the data is, if not there. */
const POINTER = "LOCATION";
/** Inside the data folder, so that it appears and disappears with the data. */
const PASSWORD_FILE = "banyan-password";
const OUR_FILES = /^(data|data\.partial-.*|LOCATION|server\.log(\.1)?|lost\+found)$/;

/**
 * Opens the cluster in `dir`, made on the first call: UTF-8 whatever the locale of the machine, and
 * a random password that only the server's user and root can read.
 *
 * The data appears by one rename, so that a crash or a second process never leaves half a cluster.
 *
 * @throws BanyanError `EMBEDDED_SERVER_FAILED`
 */
export function openCluster(dir: string, user: ServerUser | undefined, initdb: string): Cluster {
  const hint = `Check the rights and the free space of ${dir}, or name another folder`;
  return orFail(
    () => {
      const home = homeOf(dir, user);
      const dataDir = join(home, "data");
      if (!existsSync(dataDir)) initialise(home, dataDir, user, initdb);
      const password = readFileSync(join(dataDir, PASSWORD_FILE), "utf8");
      return { home, dataDir, logFile: join(home, "server.log"), superuser: SUPERUSER, password };
    },
    `the folder ${dir} cannot hold an embedded Postgres`,
    hint,
  );
}

/** The folder itself, or, when the server's user cannot get there, one of its own that the folder points to. */
function homeOf(dir: string, user: ServerUser | undefined): string {
  mkdirSync(dir, { recursive: true });
  const other = readdirSync(dir).find((name) => !OUR_FILES.test(name));
  if (other !== undefined) {
    throw embeddedFailure(
      `${dir} holds other files (${other})`,
      "Name a folder that is empty or new",
    );
  }
  const pointer = join(dir, POINTER);
  const pointed = existsSync(pointer) ? readFileSync(pointer, "utf8").trim() : undefined;
  if (user === undefined) {
    if (pointed === undefined) return dir;
    throw embeddedFailure(
      `the data of ${dir} lies in ${pointed} and belongs to a server started by root`,
      "Run it as root again",
    );
  }
  if (pointed !== undefined && dirname(pointed) === ELSEWHERE && existsSync(pointed))
    return pointed;
  let home = dir;
  if (!existsSync(join(dir, "data")) && !isReachable(dirname(dir), user)) {
    mkdirSync(ELSEWHERE, { recursive: true, mode: 0o755 });
    home = mkdtempSync(join(ELSEWHERE, "store-"));
    writeFileSync(pointer, `${home}\n`);
  }
  chownSync(home, user.uid, user.gid);
  return home;
}

function initialise(
  home: string,
  dataDir: string,
  user: ServerUser | undefined,
  initdb: string,
): void {
  const partial = mkdtempSync(join(home, "data.partial-"));
  const passwordFile = `${partial}.password`;
  const give = (path: string): void => {
    if (user !== undefined) chownSync(path, user.uid, user.gid);
  };
  try {
    give(partial);
    writeFileSync(passwordFile, randomBytes(24).toString("hex"), { mode: 0o600 });
    give(passwordFile);
    runInitdb(initdb, partial, passwordFile, user);
    renameSync(passwordFile, join(partial, PASSWORD_FILE));
    chmodSync(partial, 0o700);
    renameSync(partial, dataDir);
  } catch (error) {
    if (!existsSync(dataDir)) throw error; // Otherwise another process was quicker, and its data counts.
  } finally {
    rmSync(partial, { recursive: true, force: true });
    rmSync(passwordFile, { force: true });
  }
}

function runInitdb(
  initdb: string,
  dataDir: string,
  passwordFile: string,
  user: ServerUser | undefined,
): void {
  try {
    execFileSync(
      initdb,
      [
        ...["-D", dataDir, "-U", SUPERUSER, `--pwfile=${passwordFile}`, "--auth=scram-sha-256"],
        ...["--encoding=UTF8", "--locale=C", "--locale-provider=builtin"],
        ...["--builtin-locale=C.UTF-8", "--no-instructions"],
      ],
      { stdio: ["ignore", "pipe", "pipe"], cwd: "/", env: SERVER_ENVIRONMENT, ...user },
    );
  } catch (cause) {
    const said = String((cause as { stderr?: Buffer }).stderr ?? "").trim();
    const message = said === "" ? (cause as Error).message : said;
    throw embeddedFailure(
      `initdb failed: ${message}`,
      `Check the free space and rights of ${dirname(dataDir)}`,
      cause,
    );
  }
}
