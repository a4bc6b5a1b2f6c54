import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ROOT } from "../docs/markdown.ts";
import { startProgram, type CliResult, type RunningCli } from "./cli.ts";

/** The packed package, installed in a folder of its own as a user does it. */
export interface InstalledPackage extends Disposable {
  /** Of the user: holds `node_modules` and what the test writes. */
  readonly directory: string;
  /** Paths in the tarball. */
  readonly files: readonly string[];
  /** Runs something in the folder, e.g. `npx banyan check`. */
  shell(command: string, env?: Readonly<Record<string, string>>): Promise<CliResult>;
  /**
   * Starts the installed program in a process that may read and write in this folder only, and may not
   * start another one: what it needs beside its own dependencies fails.
   */
  confined(args: readonly string[], env: Readonly<Record<string, string>>): RunningCli;
}

const COMMAND_MS_MAX = 180_000;

/** Packs what `npm run build` has made: packing anew would remove `dist`, which other tests run. */
export async function installPackage(): Promise<InstalledPackage> {
  if (!existsSync(join(ROOT, "dist/src/cli/main.js"))) throw new Error("Run: npm run build");
  const outer = realpathSync(mkdtempSync(join(tmpdir(), "banyan-package-")));
  const directory = join(outer, "user");
  mkdirSync(join(directory, "tmp"), { recursive: true });
  try {
    const pack = `npm pack --ignore-scripts --json --pack-destination '${outer}'`;
    const packed = JSON.parse((await must(pack, ROOT)).stdout) as readonly [
      { readonly filename: string; readonly files: readonly { readonly path: string }[] },
    ];
    const [{ filename, files }] = packed;
    writeFileSync(
      join(directory, "package.json"),
      JSON.stringify({ name: "user", private: true, type: "module" }),
    );
    await must(`npm install --prefer-offline --no-audit --no-fund '../${filename}'`, directory);
    return {
      directory,
      files: files.map(({ path }) => path),
      shell: (command, env = {}) => shell(command, directory, env),
      confined: (args, env) => startConfined(directory, args, env),
      [Symbol.dispose]: () => rmSync(outer, { recursive: true, force: true }),
    };
  } catch (error) {
    rmSync(outer, { recursive: true, force: true });
    throw error;
  }
}

function startConfined(
  directory: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): RunningCli {
  const main = join(directory, "node_modules/banyan/dist/src/cli/main.js");
  const permission = Number(process.versions.node.split(".")[0]) < 23 ? "experimental-" : "";
  return startProgram(
    [
      `--${permission}permission`,
      "--disable-warning=ExperimentalWarning",
      `--allow-fs-read=${directory}`,
      `--allow-fs-write=${directory}`,
      main,
      ...args,
    ],
    { cwd: directory, env: { TMPDIR: join(directory, "tmp"), ...env } },
  );
}

async function must(command: string, cwd: string): Promise<CliResult> {
  const result = await shell(command, cwd, {});
  if (result.exitCode === 0) return result;
  throw new Error(`${command} ended with ${result.exitCode}:\n${result.stderr}`);
}

function shell(
  command: string,
  cwd: string,
  env: Readonly<Record<string, string>>,
): Promise<CliResult> {
  // What the test itself was started by is not the user's.
  const own = Object.entries(process.env).filter(
    ([name]) => !/^(npm_|NODE_PATH|INIT_CWD)/.test(name),
  );
  const options = { cwd, env: { ...Object.fromEntries(own), ...env }, timeout: COMMAND_MS_MAX };
  return new Promise((done) => {
    execFile("bash", ["-c", command], options, (error, stdout, stderr) => {
      const exitCode = error === null ? 0 : typeof error.code === "number" ? error.code : null;
      done({ exitCode, signal: error?.signal ?? null, stdout, stderr });
    });
  });
}
