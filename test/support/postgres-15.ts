import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { homedir } from "node:os";
import { join } from "node:path";
import { openDocker } from "./docker.ts";
import { TEST_SERVER_SETTINGS } from "./postgres.ts";
import { providePostgres15Image } from "./postgres-15-image.ts";

/**
 * Runs a command with BANYAN_TEST_PG_URL leading to a Postgres 15 in a container, and ends with its
 * exit code; 69 when there can be no container here. Usage: postgres-15.ts COMMAND ARGUMENT…
 */
const UNAVAILABLE = 69;
const START_MS_MAX = 120_000;

const cacheDir = join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "banyan-test");

process.exitCode = await main(process.argv.slice(2));

async function main(command: readonly string[]): Promise<number> {
  const engine = await openDocker(cacheDir);
  if (typeof engine === "string") return unavailable(engine);
  try {
    const image = providePostgres15Image(engine.host, cacheDir);
    if (typeof image === "string") return unavailable(image);
    process.env["DOCKER_HOST"] = engine.host;
    // Even where this is itself a container, whose own engine would be reached through a bridge.
    if (engine.startedHere) process.env["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1";
    // Its image comes from the same registry that could not be reached.
    if (image.isLocal) process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
    const { GenericContainer, Wait } = await import("testcontainers");
    const password = randomBytes(12).toString("hex");
    const settings = Object.entries(TEST_SERVER_SETTINGS).flatMap(([name, value]) => [
      "-c",
      `${name}=${value}`,
    ]);
    const container = await new GenericContainer(image.name)
      .withEnvironment({ POSTGRES_PASSWORD: password })
      .withCommand(image.command(settings))
      .withExposedPorts(5432)
      .withTmpFs({ [image.dataFolder]: "rw,size=4g,mode=1777" })
      .withWaitStrategy(Wait.forLogMessage(/ready to accept connections/, image.readyLines))
      .withStartupTimeout(START_MS_MAX)
      .start();
    try {
      const address = `${container.getHost()}:${container.getMappedPort(5432)}`;
      const url = `postgres://postgres:${password}@${address}/postgres?sslmode=disable`;
      process.stderr.write(`Postgres 15 runs in a container of ${image.name}\n`);
      return await run(command, { ...process.env, BANYAN_TEST_PG_URL: url });
    } finally {
      await container.stop({ timeout: 2_000 });
    }
  } finally {
    await engine.stop();
  }
}

function unavailable(reason: string): number {
  process.stderr.write(
    `There is no Postgres 15 for the tests: ${reason}\nStart Docker, then run: npm run test:pg15\n`,
  );
  return UNAVAILABLE;
}

function run(command: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const [program, ...parameters] = command;
  if (program === undefined) throw new Error("name the command to run");
  const child = spawn(program, parameters, { stdio: ["ignore", "inherit", "inherit"], env });
  // Ctrl-C reaches the child too; what was started here ends after it.
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("exit", (code) => done(code ?? 1));
  });
}
