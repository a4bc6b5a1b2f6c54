import { PassThrough } from "node:stream";
import { expect, test } from "vitest";
import { databaseFacts } from "../support/database-facts.ts";
import { askAnswers, type Prompter } from "../../src/cli/draft-ask.ts";
import { terminalPrompter } from "../../src/cli/draft-prompts.ts";
import { draft } from "../../src/draft/draft.ts";
import type { DraftAnswers } from "../../src/draft/answers.ts";

const status = { type: "text", allowed: ["new", "paid"], default: "'new'::text" };
const FACTS = databaseFacts(
  {
    orders: { columns: { id: "int8", status, updated_at: "timestamptz" } },
    shipments: { columns: { id: "int8", status, updated_at: "timestamptz" } },
    // Two tables may own it.
    parcels: {
      columns: { order_id: "int8", shipment_id: "int8", no: "int4", amount: "numeric(10,2)" },
      key: ["order_id", "shipment_id", "no"],
    },
    countries: {
      columns: { code: "text", name: "text" },
      rows: 20,
      changes: { inserted: 0, updated: 0, deleted: 0 },
    },
    broken: {
      columns: { a: "text", amount: "numeric(10,2)", status },
      key: [],
      keyMend: "ALTER TABLE …;",
    },
  },
  [
    { table: "parcels", columns: ["order_id"], references: "orders", onDelete: "cascade" },
    { table: "parcels", columns: ["shipment_id"], references: "shipments", onDelete: "cascade" },
  ],
);

/** Answers in their order; what was asked, and what could be chosen, is kept. */
function scripted(answers: readonly (string | readonly string[] | undefined)[]) {
  const left = [...answers];
  const asked: { message: string; options: readonly string[]; refused?: string | true }[] = [];
  const next = (): string | readonly string[] | undefined => {
    if (left.length === 0)
      throw new Error(`nothing was to be asked any more: ${JSON.stringify(asked.at(-1))}`);
    return left.shift();
  };
  const prompter: Prompter = {
    choose(message, options) {
      asked.push({ message, options: options.map(({ value }) => value) });
      const answer = String(next() ?? "");
      expect(options.map(({ value }) => value)).toContain(answer);
      return Promise.resolve(answer);
    },
    tick(message, options) {
      asked.push({
        message,
        options: options.filter(({ disabled }) => disabled === undefined).map(({ value }) => value),
      });
      const answer = next();
      const given = options.filter(({ ticked }) => ticked).map(({ value }) => value);
      return Promise.resolve(Array.isArray(answer) ? (answer as string[]) : given);
    },
    type(message, given, validate) {
      const answer = next();
      const text = typeof answer === "string" ? answer : given;
      asked.push({ message, options: [given], refused: validate(text) });
      return Promise.resolve(text);
    },
  };
  return { prompter, asked, left };
}

function ask(
  script: ReturnType<typeof scripted>,
  answers: DraftAnswers = {},
): Promise<DraftAnswers> {
  return askAnswers({
    facts: FACTS,
    sample: undefined,
    answers,
    draftWith: (some) => draft(FACTS, { answers: some }),
    prompter: script.prompter,
    say: () => undefined,
  });
}

test("who changes nothing gets what is drafted without questions", async () => {
  const answers = await ask(scripted([undefined, undefined, undefined]));
  expect(answers).toEqual({});
  expect(draft(FACTS, { answers })).toEqual(draft(FACTS));
});

test("a person decides to whom a shared table belongs, what is drafted, and how events are called", async () => {
  const script = scripted([
    "public.parcels",
    "public.shipments",
    undefined,
    ["public.shipments", "public.countries"],
    "public.shipments status=paid",
    "ShipmentSettled",
    "public.countries insert",
    "CountryRecognised",
    undefined,
  ]);
  const answers = await ask(script);
  expect(script.left).toEqual([]);
  const { aggregates, leftOut } = draft(FACTS, { answers });
  expect(
    aggregates.map(({ proposal, children }) => [proposal.name, children.map(({ role }) => role)]),
  ).toEqual(
    expect.arrayContaining([
      ["shipment", ["parcels"]],
      ["country", []],
    ]),
  );
  expect(aggregates).toHaveLength(2);
  expect(leftOut.map(({ table }) => table)).toEqual(["public.broken", "public.orders"]);
  const events = aggregates.flatMap(({ rules }) => rules.map(({ event }) => event));
  expect(events).toEqual(expect.arrayContaining(["ShipmentSettled", "CountryRecognised"]));
  expect(events).not.toContain("ShipmentPaid");
  // Asked again, it begins with these answers.
  expect(await ask(scripted([undefined, undefined, undefined]), answers)).toEqual(answers);
});

test("a name that no event may have is refused with the reason", async () => {
  const refusals: (string | true | undefined)[] = [];
  for (const name of [
    "orderPaid",
    "Order Paid",
    "",
    "ShipmentPaid",
    "shipmentPAID",
    "OrderAmended",
    "OrderSettled",
  ]) {
    const script = scripted([undefined, undefined, "public.orders status=paid", name, undefined]);
    await ask(script);
    refusals.push(script.asked.find(({ refused }) => refused !== undefined)!.refused);
  }
  expect(refusals.map((refusal) => (refusal === true ? true : refusal!.slice(0, 20)))).toEqual([
    "A capital letter, th",
    "A capital letter, th",
    "A capital letter, th",
    "Another event is cal",
    "A capital letter, th",
    "Another event is cal",
    true,
  ]);
});

test("what is blocked cannot be ticked", async () => {
  const script = scripted([undefined, undefined, undefined]);
  await ask(script);
  const [, ticked] = script.asked;
  expect(ticked!.options).toContain("public.orders");
  expect(ticked!.options).not.toContain("public.broken");
});

test("at a terminal the keys do what they say", async () => {
  const input = new PassThrough();
  const output = new PassThrough().resume();
  const stop = new AbortController();
  const prompter = await terminalPrompter(stop.signal, { input, output });
  const press = (...keys: string[]): void =>
    keys.forEach((key, i) => setTimeout(() => input.write(key), 30 * (i + 1)));
  const [down, space, enter] = ["\u001b[B", " ", "\r"];
  const options = ["a", "b", "c"].map((value) => ({ value, name: value }));

  press(down, enter);
  expect(await prompter.choose("Which?", options)).toBe("b");
  press(space, down, space, enter);
  expect(
    await prompter.tick(
      "Which?",
      options.map((option, i) => ({ ...option, ticked: i === 0 })),
    ),
  ).toEqual(["b"]);
  press("x", enter);
  expect(await prompter.type("Name?", "given", () => true)).toBe("givenx");

  const left = prompter.choose("Which?", options);
  stop.abort();
  await expect(left).rejects.toMatchObject({ name: "AbortError" });
});
