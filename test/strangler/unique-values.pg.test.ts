import { setTimeout as sleep } from "node:timers/promises";
import { expect, test, vi } from "vitest";
import { openTwoShops, type TwoShops } from "./two-shops.ts";
import type { Stage } from "../../src/rollout/stage.ts";
import { seededRandom } from "../support/seeded-random.ts";

/*
 * An e-mail is only one customer's, whichever shop registers him. Both are asked for the same ones at once,
 * so that neither knows of the other yet.
 */

const EMAILS = 40;
/** Of a client that is told to come again, until the rows are written once more. */
const AGAIN_MS_MAX = 60_000;
vi.setConfig({ testTimeout: 400_000 });

interface Answer {
  readonly side: "legacy" | "new";
  readonly email: string;
  readonly status: number;
  readonly id: string | undefined;
}

async function register(
  { legacyUrl, newUrl }: TwoShops,
  side: "legacy" | "new",
  email: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  const response = await fetch(`${side === "legacy" ? legacyUrl : newUrl}/customers`, {
    method: "POST",
    headers: { "content-type": "application/json", ...more },
    body: JSON.stringify({ email, fullName: "N. N.", city: "Oslo" }),
  });
  const { id } = (await response.json()) as { id?: string };
  return { side, email, status: response.status, id };
}

/** As a client does that is told to come again: the shop could not find out in time. */
async function registerAtLast(
  shops: TwoShops,
  side: "legacy" | "new",
  email: string,
  more: Readonly<Record<string, string>> = {},
): Promise<Answer> {
  for (const deadline = performance.now() + AGAIN_MS_MAX; ;) {
    const answer = await register(shops, side, email, more);
    if (answer.status !== 503 || performance.now() > deadline) return answer;
  }
}

/** Ids by e-mail in the legacy table. */
async function rows({ source }: TwoShops): Promise<ReadonlyMap<string, string>> {
  const found = await source.query("SELECT email, id::text FROM customers");
  return new Map((found.rows as { email: string; id: string }[]).map((row) => [row.email, row.id]));
}

async function idsReserved(shops: TwoShops): Promise<void> {
  await shops.until("ids are reserved", async () => {
    const { rows: found } = await shops.events.query(
      "SELECT FROM banyan.reserved_ids WHERE stream_type = 'customer' LIMIT 1",
    );
    return found.length > 0;
  });
}

/** Of each e-mail one was told that he is registered and has the row, and the others were refused. */
function expectOneEach(answers: readonly Answer[], is: ReadonlyMap<string, string>): void {
  for (const email of new Set(answers.map((answer) => answer.email))) {
    const own = answers.filter((answer) => answer.email === email);
    const [first, ...others] = own.toSorted((a, b) => a.status - b.status);
    expect([first!.status, first!.id], email).toEqual([200, is.get(email)]);
    expect(new Set(others.map(({ status }) => status)), email).toEqual(new Set([409]));
  }
}

test("an e-mail asked for at both shops at once is one customer's, and stays his after a rollback", async () => {
  const seed = Number(process.env["BANYAN_TEST_SEED"] ?? Date.now() % 1_000_000);
  process.stdout.write(`seed ${seed}\n`);
  const random = seededRandom(seed);
  await using shops = await openTwoShops("unique_values", 5);
  const answers: Answer[] = [];
  const stages: readonly (readonly [Stage, number])[] = [
    ["canary", 5_000],
    ["new", 10_000],
  ];
  for (const [stage, share] of stages) {
    await shops.switchTo(stage, share, "customer");
    await idsReserved(shops);
    const emails = Array.from({ length: EMAILS }, (_, n) => `${stage}-${n}@example.org`);
    for (let at = 0; at < emails.length; at += 5) {
      const both = emails.slice(at, at + 5).flatMap((email) => {
        // At canary each side makes new ones; behind it only the new shop does, here twice at once.
        const sides = ["new", stage === "canary" ? "legacy" : "new"] as const;
        const laterMs = random() * 120;
        // Either may be the later one, whichever is faster.
        const first = random() < 0.5 ? 0 : 1;
        return sides.map(async (side, n) => {
          if (n !== first) await sleep(laterMs);
          return await registerAtLast(shops, side, email);
        });
      });
      answers.push(...(await Promise.all(both)));
    }
  }
  const winners = answers.filter(({ status }) => status === 200);
  expect(new Set(winners.map(({ side }) => side))).toEqual(new Set(["legacy", "new"]));
  await shops.expectInStep();
  expectOneEach(answers, await rows(shops));

  await shops.switchTo("legacy", 0, "customer");
  await shops.expectInStep();
  expectOneEach(answers, await rows(shops));
  for (const { email } of winners.slice(0, 5))
    expect(await register(shops, "legacy", email)).toMatchObject({ status: 409 });
});

test("where the rows are not written, nobody is told that he is registered, and the e-mail is free again", async () => {
  await using shops = await openTwoShops("unique_unwritten", 5);
  await shops.switchTo("new", 10_000, "customer");
  await idsReserved(shops);
  await shops.kill("daemon");
  const once = { "idempotency-key": "once" };
  expect(await register(shops, "new", "a@example.org", once)).toMatchObject({ status: 503 });
  shops.start("daemon");
  // What was taken back stays so, whoever sends the same request again. Who writes the rows takes a while to be there.
  const again = await registerAtLast(shops, "new", "a@example.org", once);
  expect(again).toMatchObject({ status: 409 });
  const { status, id } = await registerAtLast(shops, "new", "a@example.org");
  expect(status).toBe(200);
  expect((await rows(shops)).get("a@example.org")).toBe(id);
  // Whoever is registered can go on at once.
  const moved = await fetch(`${shops.newUrl}/customers/${id}/city`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ city: "Bergen" }),
  });
  expect(moved.status).toBe(200);
  await shops.expectInStep();
  const { rows: found } = await shops.source.query(
    "SELECT address FROM customers WHERE email = 'a@example.org'",
  );
  expect(found).toEqual([{ address: { city: "Bergen" } }]);
});

test("where nothing is written back any more, an e-mail asked for twice at once is one customer's", async () => {
  await using shops = await openTwoShops("unique_complete", 5);
  await shops.switchTo("new", 10_000, "customer");
  await idsReserved(shops);
  await shops.switchTo("complete", 10_000, "customer");
  const emails = Array.from({ length: EMAILS }, (_, n) => `complete-${n}@example.org`);
  for (let at = 0; at < emails.length; at += 5) {
    const some = emails.slice(at, at + 5);
    const answers = await Promise.all(
      [...some, ...some, ...some].map((email) => registerAtLast(shops, "new", email)),
    );
    for (const email of some) {
      const own = answers.filter((answer) => answer.email === email);
      expect(
        own.map(({ status }) => status).sort((a, b) => a - b),
        email,
      ).toEqual([200, 409, 409]);
    }
  }
});

test("in shadow the new shop refuses what legacy refuses, and proposes what it accepts", async () => {
  await using shops = await openTwoShops("unique_shadow", 5);
  await shops.switchTo("shadow", 0, "customer");
  expect(await register(shops, "legacy", "a@example.org")).toMatchObject({ status: 200 });
  await shops.captured();
  const shadow = { "banyan-mode": "shadow" };
  expect(await register(shops, "new", "a@example.org", shadow)).toMatchObject({ status: 409 });
  expect(await register(shops, "new", "b@example.org", shadow)).toMatchObject({ status: 200 });
  const { rows: proposed } = await shops.events.query(
    "SELECT jsonb_array_length(events) AS events, inputs FROM banyan.proposals ORDER BY id",
  );
  expect(proposed).toMatchObject([{ events: 0 }, { events: 1 }]);
  const [refused] = proposed as { inputs: Record<string, number> }[];
  expect(Object.keys(refused!.inputs)).toEqual([expect.stringMatching(/^customer-/)]);
});
