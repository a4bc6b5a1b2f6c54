import { spawn, type ChildProcess } from "node:child_process";
import { join } from "node:path";
import type { ChildKind } from "./proxy-kinds.ts";

const START_MS_MAX = 20_000;

export interface StartedChild {
  readonly child: ChildProcess;
  readonly port: number;
}

/**
 * A server of proxy-child.ts in a process of its own, when it listens.
 *
 * @param upstream port of the application behind it
 * @param fresh port of its successor, where that is another one
 */
export async function startChild(
  kind: ChildKind,
  upstream: number,
  fresh = upstream,
): Promise<StartedChild> {
  const jiti = join(import.meta.dirname, "../node_modules/jiti/lib/jiti-cli.mjs");
  const script = join(import.meta.dirname, "proxy-child.ts");
  const child = spawn(process.execPath, [jiti, script, kind, String(upstream), String(fresh)], {
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
