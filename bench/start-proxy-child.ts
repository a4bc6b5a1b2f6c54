import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ChildKind } from "./proxy-kinds.ts";

const START_MS_MAX = 20_000;
const ROOT = join(import.meta.dirname, "..");
/** Where bench/tsconfig.json puts what it compiles; packages are found from there. */
const COMPILED = join(ROOT, "node_modules/.cache/banyan-bench");

let isCompiled = false;

export interface StartedChild {
  readonly child: ChildProcess;
  readonly port: number;
}

/**
 * A server of proxy-child.ts in a process of its own, when it listens. Compiled, as it is for users: modules
 * that are transformed while they are loaded find each other more slowly.
 *
 * @param upstream port of the application behind it
 * @param fresh port of its successor, where that is another one
 */
export async function startChild(
  kind: ChildKind,
  upstream: number,
  fresh = upstream,
): Promise<StartedChild> {
  const child = spawn(process.execPath, [compiled(), kind, String(upstream), String(fresh)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const port = await new Promise<number>((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`${kind} did not start`)), START_MS_MAX);
    child.stdout.once("data", (text: Buffer) => {
      clearTimeout(timer);
      done(Number(text.toString()));
    });
    child.once("exit", () => fail(new Error(`${kind} ended`)));
  });
  return { child, port };
}

function compiled(): string {
  if (!isCompiled) {
    const compiler = join(ROOT, "node_modules/typescript/bin/tsc");
    const project = join(import.meta.dirname, "tsconfig.json");
    execFileSync(process.execPath, [compiler, "-p", project], { stdio: "inherit" });
    writeFileSync(join(COMPILED, "package.json"), '{ "type": "module" }\n');
    isCompiled = true;
  }
  return join(COMPILED, "bench/proxy-child.js");
}
