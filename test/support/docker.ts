import { execFileSync, spawn, type ChildProcess, type StdioOptions } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

/** A Docker engine that answers. */
export interface DockerEngine {
  /** For DOCKER_HOST. */
  readonly host: string;
  readonly startedHere: boolean;
  /** Ends the engine if it was started here. */
  stop(): Promise<void>;
}

const START_MS_MAX = 60_000;
const STOP_MS_MAX = 30_000;
const APT_MS_MAX = 300_000;

/**
 * The Docker engine that runs here; else, as root on Debian, one of our own: installed with apt-get,
 * with its data in `cacheDir`, reachable through a socket of its own, publishing ports on loopback only.
 *
 * @returns a sentence that says why there is none
 */
export async function openDocker(cacheDir: string): Promise<DockerEngine | string> {
  const running = await findRunning();
  if (running !== undefined) return running;
  const refusal = installRefusal();
  if (refusal !== undefined) return `no Docker engine runs here, and ${refusal}`;
  if (!has("dockerd")) {
    aptInstall("docker.io");
    if (!has("docker")) aptInstall("docker-cli"); // Newer releases keep the client apart.
    // Its installation may have started the system's own engine.
    const started = await findRunning();
    if (started !== undefined) return started;
  }
  return await startEngine(cacheDir);
}

/** Installs Debian packages; the caller has asked `installRefusal` before. */
export function aptInstall(...packages: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  // Standard output belongs to the tests' own result.
  const stdio: StdioOptions = ["ignore", 2, 2];
  execFileSync("apt-get", ["update", "-q"], { stdio, env, timeout: APT_MS_MAX });
  execFileSync("apt-get", ["install", "-q", "-y", "--no-install-recommends", ...packages], {
    stdio,
    env,
    timeout: APT_MS_MAX,
  });
}

/** Why nothing can be installed here, or undefined. */
export function installRefusal(): string | undefined {
  if (process.getuid?.() !== 0) return "only root can install one";
  if (!existsSync("/etc/debian_version") || !has("apt-get"))
    return "this is not a Debian to install one on";
  return undefined;
}

export function has(program: string): boolean {
  const folders = (process.env["PATH"] ?? "").split(":");
  return [...folders, "/usr/sbin", "/sbin"].some((folder) => existsSync(join(folder, program)));
}

async function findRunning(): Promise<DockerEngine | undefined> {
  const { DOCKER_HOST, XDG_RUNTIME_DIR, HOME } = process.env;
  const sockets = [
    "/var/run/docker.sock",
    ...(XDG_RUNTIME_DIR === undefined ? [] : [join(XDG_RUNTIME_DIR, "docker.sock")]),
    ...(HOME === undefined ? [] : [join(HOME, ".docker/run/docker.sock")]),
  ];
  // A host that is not a socket is the user's explicit choice: the client will say if it does not answer.
  const hosts =
    DOCKER_HOST === undefined || DOCKER_HOST === ""
      ? sockets.map((path) => `unix://${path}`)
      : [DOCKER_HOST];
  for (const host of hosts) {
    if (!host.startsWith("unix://") || (await answers(host.slice("unix://".length)))) {
      return { host, startedHere: false, stop: () => Promise.resolve() };
    }
  }
  return undefined;
}

async function startEngine(cacheDir: string): Promise<DockerEngine | string> {
  mkdirSync(cacheDir, { recursive: true });
  const folder = mkdtempSync(join(tmpdir(), "banyan-docker-"));
  const socket = join(folder, "docker.sock");
  const logFile = join(folder, "dockerd.log");
  const log = openSync(logFile, "a");
  const engine = spawn(
    "dockerd",
    [
      // Works on any file system, also inside a container or a small virtual machine.
      ...["--storage-driver=vfs", `--data-root=${join(cacheDir, "docker")}`],
      ...[`--exec-root=${join(folder, "exec")}`, `--pidfile=${join(folder, "docker.pid")}`],
      ...[`--host=unix://${socket}`, "--ip=127.0.0.1"],
    ],
    {
      stdio: ["ignore", log, log],
      env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin:/sbin` },
    },
  );
  let ended: string | undefined;
  engine.once("error", (error) => (ended = error.message));
  engine.once("exit", (code, signal) => (ended = `it ended with ${code ?? signal}`));
  const deadline = Date.now() + START_MS_MAX;
  while (ended === undefined && Date.now() < deadline) {
    if (await answers(socket)) {
      const host = `unix://${socket}`;
      // A run that was killed leaves its containers, and each holds a copy of its image.
      const env = { ...process.env, DOCKER_HOST: host };
      execFileSync("docker", ["container", "prune", "--force"], {
        stdio: "ignore",
        env,
        timeout: START_MS_MAX,
      });
      return { host, startedHere: true, stop: () => stopEngine(engine, folder) };
    }
    await sleep(200);
  }
  const tail = readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-5).join("\n  ");
  await stopEngine(engine, folder);
  return `dockerd does not start (${ended ?? "no answer"}):\n  ${tail}`;
}

async function stopEngine(engine: ChildProcess, folder: string): Promise<void> {
  if (engine.exitCode === null && engine.signalCode === null) {
    const ended = new Promise<string>((done) => engine.once("exit", () => done("ended")));
    engine.kill("SIGTERM");
    if ((await Promise.race([ended, sleep(STOP_MS_MAX, "late", { ref: false })])) === "late")
      engine.kill("SIGKILL");
  }
  rmSync(folder, { recursive: true, force: true });
}

function answers(socketPath: string): Promise<boolean> {
  return new Promise((done) => {
    const ping = request({ socketPath, path: "/_ping", timeout: 2_000 }, (response) => {
      response.resume();
      done(response.statusCode === 200);
    });
    ping.once("timeout", () => ping.destroy());
    ping.once("error", () => done(false));
    ping.end();
  });
}
