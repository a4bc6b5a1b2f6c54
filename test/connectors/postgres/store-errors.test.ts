import { expect, test } from "vitest";
import { classifyStore } from "../../../connectors/postgres/store-errors.ts";

test("a missing right in the store leads to the list of rights, not to the check of the source", () => {
  const refused = classifyStore({ code: "42501", message: "permission denied" }, "migrating");
  expect(refused).toMatchObject({ code: "STORE_REFUSED" });
  expect(refused.hint).toContain("docs/4-operations.md");
});
