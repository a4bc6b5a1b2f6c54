import { execFileSync, type StdioOptions } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  renameSync,
  rmSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { aptInstall, has, installRefusal } from "./docker.ts";

/** An image with Postgres 15 and how to start it as a server for the tests. */
export interface PostgresImage {
  readonly name: string;
  /** Made here rather than pulled: nothing else can be pulled then either. */
  readonly isLocal: boolean;
  /** The command that starts the server, with these settings added to it. */
  command(settings: readonly string[]): string[];
  /** Holds the data, which need not outlive the container. */
  readonly dataFolder: string;
  /** How often the log says that it is ready until it is. */
  readonly readyLines: number;
}

const PUBLIC_NAME = "postgres:15";
const LOCAL_NAME = "banyan-test/postgres:15";
const PULL_MS_MAX = 120_000;
const BOOTSTRAP_MS_MAX = 600_000;
/** The Debian release whose Postgres is 15. */
const RELEASE = "bookworm";
const PROGRAMS = "/usr/lib/postgresql/15/bin";

/**
 * The public image where a registry is reached; else one made here from Debian packages, whose root
 * folder is kept in `cacheDir` for the next time.
 *
 * @param host the engine, as DOCKER_HOST has it
 * @returns a sentence that says why there is none
 */
export function providePostgres15Image(host: string, cacheDir: string): PostgresImage | string {
  if (!has("docker")) return publicImage(); // Only an engine: Testcontainers pulls through it.
  const docker = (
    parameters: readonly string[],
    timeout = 60_000,
    stdio: StdioOptions = "ignore",
  ): boolean => {
    try {
      execFileSync("docker", parameters, {
        stdio,
        timeout,
        env: { ...process.env, DOCKER_HOST: host },
      });
      return true;
    } catch {
      return false;
    }
  };
  if (docker(["image", "inspect", LOCAL_NAME])) return localImage();
  if (
    docker(["image", "inspect", PUBLIC_NAME]) ||
    docker(["pull", "--quiet", PUBLIC_NAME], PULL_MS_MAX)
  )
    return publicImage();

  const refusal = installRefusal();
  if (refusal !== undefined)
    return `${PUBLIC_NAME} cannot be pulled, and ${refusal.replace("one", "what makes an image")}`;
  try {
    const rootFolder = bootstrap(cacheDir);
    const file = openSync(rootFolder, "r");
    try {
      const made = docker(
        [
          "import",
          "--change",
          "USER postgres",
          "--change",
          `ENV PATH=${PROGRAMS}:/usr/bin:/bin`,
          "-",
          LOCAL_NAME,
        ],
        300_000,
        [file, 2, 2],
      );
      return made ? localImage() : `docker import of ${rootFolder} failed`;
    } finally {
      closeSync(file);
    }
  } catch (error) {
    return `${PUBLIC_NAME} cannot be pulled, and no image can be made: ${(error as Error).message}`;
  }
}

function publicImage(): PostgresImage {
  return {
    name: PUBLIC_NAME,
    isLocal: false,
    command: (settings) => ["postgres", ...settings],
    dataFolder: "/var/lib/postgresql/data",
    readyLines: 2,
  };
}

function localImage(): PostgresImage {
  return {
    name: LOCAL_NAME,
    isLocal: true,
    dataFolder: "/tmp",
    command: (settings) => [
      "sh",
      "-ec",
      [
        'printf %s "$POSTGRES_PASSWORD" > /tmp/password',
        "initdb -D /tmp/data -U postgres --pwfile=/tmp/password -A scram-sha-256 -E UTF8 --locale=C.UTF-8",
        "echo 'host all all all scram-sha-256' >> /tmp/data/pg_hba.conf",
        'exec postgres -D /tmp/data -c "listen_addresses=*" "$@"',
      ].join("\n"),
      "postgres",
      ...settings,
    ],
    readyLines: 1,
  };
}

/** A tar file of a small Debian with Postgres; made once. */
function bootstrap(cacheDir: string): string {
  const file = join(cacheDir, `postgres-15-${RELEASE}-${process.arch}.tar`);
  if (existsSync(file)) return file;
  if (!has("debootstrap")) aptInstall("debootstrap");
  const stdio: StdioOptions = ["ignore", 2, 2];
  const folder = mkdtempSync(join(tmpdir(), "banyan-root-"));
  try {
    execFileSync(
      "debootstrap",
      ["--variant=minbase", "--include=postgresql-15", RELEASE, folder, debianMirror()],
      { stdio, timeout: BOOTSTRAP_MS_MAX, env: { ...process.env, ...aptProxy() } },
    );
    chmodSync(folder, 0o755); // It becomes the root folder, which the server's user must pass.
    mkdirSync(cacheDir, { recursive: true });
    const useless = [
      "./var/cache/apt",
      "./var/lib/apt/lists",
      "./usr/share/doc",
      "./usr/share/locale",
      "./dev",
    ];
    const partial = `${file}.${process.pid}`;
    execFileSync(
      "tar",
      ["-C", folder, ...useless.map((path) => `--exclude=${path}/*`), "-cf", partial, "."],
      { stdio },
    );
    renameSync(partial, file);
    return file;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Where this machine itself gets Debian from. */
function debianMirror(): string {
  const listed = execFileSync(
    "apt-get",
    [
      "indextargets",
      "--format",
      "$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)",
      "Created-By: Packages",
    ],
    { encoding: "utf8" },
  );
  const found = listed
    .split("\n")
    .map((line) => line.split(" "))
    .find(
      ([origin, component, codename, uri]) =>
        origin === "Debian" &&
        component === "main" &&
        !(codename ?? "").includes("-") &&
        /^https?:/.test(uri ?? ""),
    );
  if (found?.[3] === undefined) throw new Error("apt-get knows no Debian mirror");
  return found[3];
}

/** debootstrap reads the proxy from the environment, apt-get from its settings. */
function aptProxy(): Record<string, string> {
  const said = execFileSync("apt-config", ["dump", "--format", "%v%n", "Acquire::http::Proxy"], {
    encoding: "utf8",
  });
  const proxy = said.split("\n")[0] ?? "";
  return proxy === "" || proxy === "DIRECT" ? {} : { http_proxy: proxy };
}
