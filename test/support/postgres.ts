import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { startEmbeddedPostgres } from "../../connectors/embedded/embedded-postgres.ts";

/** Gives the tests a Postgres: that of BANYAN_TEST_PG_URL, else an embedded one for this run. */
export default async function setup(project: TestProject): Promise<(() => Promise<void>) | undefined> {
  const external = process.env["BANYAN_TEST_PG_URL"];
  if (external !== undefined) {
    project.provide("pgUrl", external);
    return undefined;
  }
  const dir = mkdtempSync(join(tmpdir(), "banyan-test-"));
  const server = await startEmbeddedPostgres({
    dir,
    flags: [
      ...["-c", "wal_level=logical", "-c", "max_replication_slots=64", "-c", "max_wal_senders=64"],
      ...["-c", "max_connections=200", "-c", "fsync=off"],
    ],
  });
  project.provide("pgUrl", server.url("postgres"));
  return async () => {
    await server.stop("immediate");
    rmSync(dir, { recursive: true, force: true });
  };
}
