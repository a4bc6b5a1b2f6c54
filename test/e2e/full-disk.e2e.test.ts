import { spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CLI, type CliResult } from "../support/cli.ts";
import { runBanyan, runToEnd, startBanyan, type Capture } from "../support/crash-capture.ts";
import { createStore } from "../support/crash-store.ts";
import { openShop } from "../support/shop.ts";

/** In blocks of 512 bytes, as POSIX has it: less than one of the files that the transaction is spilled to. */
const FILE_BLOCKS_MAX = 32;
/** Past the limit the system also sends a signal, which would end the process. */
const UNIMPRESSED = "data:text/javascript,process.on('SIGXFSZ',()=>undefined)";
const RUN_MS_MAX = 180_000;

test("a disk that takes only a part of a large transaction ends the run; with room it is told whole", async () => {
  await using shop = await openShop({ label: "full_disk", orders: 1_600, seed: 5 });
  await using store = await createStore("full_disk");
  const capture = { shop, storeUrl: store.url, slot: `slot_${store.name}` };
  await runToEnd(capture);
  // Spilled, and written to each file in one piece: what is cut off of it is not missed by a later piece.
  await shop.database.query(
    "INSERT INTO orders (customer_id, note) SELECT 1, repeat(md5(n::text), 20) FROM generate_series(1, 6000) n",
  );
  const { exitCode, stderr } = await runWithSmallFiles(capture);
  expect({ exitCode, stderr }).toMatchObject({
    exitCode: 4,
    stderr: expect.stringMatching(/\[SPILL_FAILED\].*\n {2}next: /) as string,
  });
  expect(stderr).not.toMatch(/^\s+at /m);
  await runToEnd(capture);
  const running = startBanyan(capture, ["run", "--json"]);
  const { stdout } = await runBanyan(capture, "verify", "--json");
  running.child.kill("SIGINT");
  expect((await running.ended).exitCode).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ state: "equal" });
});

test("a folder that cannot be made for large transactions is said, and not taken for a bug", async () => {
  await using shop = await openShop({ label: "no_folder", orders: 20, seed: 5 });
  await using store = await createStore("no_folder");
  const capture = { shop, storeUrl: store.url, slot: `slot_${store.name}` };
  const inTheWay = join(shop.directory, ".banyan");
  writeFileSync(inTheWay, "a file");
  const { exitCode, stderr } = await runBanyan(capture, "run", "--until-caught-up", "--json");
  expect({ exitCode, stderr }).toMatchObject({
    exitCode: 4,
    stderr: expect.stringMatching(/\[SPILL_FAILED\].*\n {2}next: /) as string,
  });
  rmSync(inTheWay);
  await runToEnd(capture);
});

/** Runs the capture where no file may grow beyond the limit: a write that meets it is cut short first, and then fails, as on a full disk. */
function runWithSmallFiles({ shop, storeUrl, slot }: Capture): Promise<CliResult> {
  const args = ["--import", UNIMPRESSED, CLI, "run", "--until-caught-up", "--json"];
  const child = spawn(
    "sh",
    ["-c", `ulimit -f ${FILE_BLOCKS_MAX} && exec "$@"`, "sh", process.execPath, ...args],
    {
      cwd: shop.directory,
      env: {
        ...process.env,
        SHOP_URL: shop.database.url,
        EVENTS_URL: storeUrl,
        SHOP_SLOT: slot,
      },
      stdio: ["ignore", "pipe", "pipe"],
    },
  );
  const timer = setTimeout(() => child.kill("SIGKILL"), RUN_MS_MAX);
  let stdout = "";
  let stderr = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  return new Promise((done, fail) => {
    child.once("error", fail);
    child.once("close", (exitCode, signal) => {
      clearTimeout(timer);
      done({ exitCode, signal, stdout, stderr });
    });
  });
}
