import { execFileSync } from "node:child_process";
import { chmodSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { serverUser } from "../../../connectors/embedded/server-user.ts";

const ROOT = join(import.meta.dirname, "../../..");

/** What `findPostmaster` says of a folder to somebody who is not root. */
function foundByOrdinaryUser(dataDir: string): unknown {
  const module = pathToFileURL(join(ROOT, "connectors/embedded/postmaster.ts")).href;
  const script = `import { findPostmaster } from ${JSON.stringify(module)};
    process.stdout.write(JSON.stringify(findPostmaster(${JSON.stringify(dataDir)}) ?? null));`;
  const file = join(dataDir, "ask.ts");
  writeFileSync(file, script);
  chmodSync(file, 0o644);
  const said = execFileSync(
    process.execPath,
    [join(ROOT, "node_modules/jiti/lib/jiti-cli.mjs"), file],
    {
      encoding: "utf8",
      env: { PATH: process.env["PATH"], JITI_FS_CACHE: "false" },
      ...serverUser(),
    },
  );
  return JSON.parse(said);
}

/** A live process that the one who asks may not look into. */
function foreignProcess(): number {
  if (process.getuid?.() === 0) return process.pid; // It asks as another user.
  const others = readdirSync("/proc").filter(
    (name) => /^\d+$/.test(name) && statSync(`/proc/${name}`).uid !== process.getuid?.(),
  );
  return Number(others.at(-1) ?? 1);
}

test("a process number that now belongs to another user's program is no server of ours", () => {
  const dataDir = mkdtempSync(join(tmpdir(), "banyan-postmaster-"));
  try {
    chmodSync(dataDir, 0o755);
    // Left by a crash of the machine, after which the numbers are given out anew.
    const pid = foreignProcess();
    writeFileSync(
      join(dataDir, "postmaster.pid"),
      `${pid}
${dataDir}
1700000000
54321

127.0.0.1
`,
    );
    expect(foundByOrdinaryUser(dataDir)).toBeNull();
    // A number that nobody has.
    writeFileSync(
      join(dataDir, "postmaster.pid"),
      `4194303\n${dataDir}\n1700000000\n54321\n\n127.0.0.1\n`,
    );
    expect(foundByOrdinaryUser(dataDir)).toBeNull();
  } finally {
    rmSync(dataDir, { recursive: true, force: true });
  }
});
