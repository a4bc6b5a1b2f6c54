import { randomBytes } from "node:crypto";
import type { TestDatabase } from "./databases.ts";

export interface TestRole extends AsyncDisposable {
  readonly name: string;
  /** The database as this role. */
  readonly url: string;
}

/** A role that may log in and nothing else; gone with its rights when disposed. */
export async function createRole(db: TestDatabase): Promise<TestRole> {
  const name = `role_${randomBytes(4).toString("hex")}`;
  await db.query(`CREATE ROLE ${name} LOGIN PASSWORD 'secret'`);
  const url = new URL(db.url);
  url.username = name;
  url.password = "secret";
  return {
    name,
    url: url.href,
    async [Symbol.asyncDispose]() {
      await db.query(`DROP OWNED BY ${name}; DROP ROLE ${name}`);
    },
  };
}
