import { readFileSync } from "node:fs";
import yargs, { type CommandModule } from "yargs";
import { assessCommand } from "./commands/assess.ts";
import { baselineCommand } from "./commands/baseline.ts";
import { checkCommand } from "./commands/check.ts";
import { demoCommand } from "./commands/demo.ts";
import { draftCommand } from "./commands/draft.ts";
import { historyCommand } from "./commands/history.ts";
import { proxyCommand } from "./commands/proxy.ts";
import { quarantineCommand } from "./commands/quarantine.ts";
import { rebaselineCommand } from "./commands/rebaseline.ts";
import { ROLLOUT_ACTIONS, ROLLOUT_COMMANDS, rolloutCommand } from "./commands/rollout.ts";
import { runCommand } from "./commands/run.ts";
import { stateCommand } from "./commands/state.ts";
import { statusCommand } from "./commands/status.ts";
import { verifyCommand } from "./commands/verify.ts";
import { BanyanError } from "../model/errors.ts";

/** In the order of the help. Each is typed by arguments of its own, which differ. */
const MODULES: CommandModule[] = [
  assessCommand,
  draftCommand,
  checkCommand,
  runCommand,
  statusCommand,
  baselineCommand,
  rebaselineCommand,
  verifyCommand,
  historyCommand,
  stateCommand,
  quarantineCommand,
  proxyCommand,
  rolloutCommand,
  demoCommand,
] as never[];

export const COMMANDS: readonly string[] = MODULES.map(({ command }) => firstWord(command));

/**
 * Parses arguments and runs the command that they name.
 *
 * @throws BanyanError `USAGE`, and whatever the command throws
 */
export async function runCommandLine(argv: readonly string[]): Promise<void> {
  await yargs(argv)
    .scriptName("banyan")
    // In the language of everything else that is printed.
    .locale("en")
    .usage(
      "$0 <command>\n\nMoves a living CRUD database to event sourcing, with proof at every step.",
    )
    .option("config", {
      type: "string",
      requiresArg: true,
      describe: "Config file (default: banyan.config.ts in this folder)",
      global: true,
    })
    .option("json", {
      type: "boolean",
      default: false,
      describe: "Write one JSON document to stdout",
      global: true,
    })
    .command(MODULES)
    .check((parsed, options) => {
      const repeated = findRepeated(parsed, options as unknown as ParserOptions);
      if (repeated === undefined) return true;
      throw usageError(`--${repeated} was given more than once`, argv);
    })
    .demandCommand(1, "no command was named")
    .strict()
    .version(packageVersion())
    .epilogue(
      "Exit codes: 0 done, 1 found a difference or a problem, 2 usage or config, 4 environment,\n" +
        "70 a bug, 75 did not end in time after Ctrl-C, 130 ended by a second Ctrl-C.\n" +
        "docs/ in this package explains everything; docs/errors.md each [CODE].",
    )
    .wrap(Math.min(100, process.stdout.columns ?? 100))
    .exitProcess(false)
    .fail((message, error) => {
      // The parser's own errors, which say what is wrong with the command line.
      if (error === undefined || error.name === "YError") throw usageError(message, argv);
      throw error;
    })
    .parseAsync();
}

interface ParserOptions {
  /** Names of the options that may be given several times. */
  readonly array: readonly string[];
}

/** The parser makes a list of an option that was given twice, also where the command takes one value. */
function findRepeated(
  parsed: Readonly<Record<string, unknown>>,
  { array }: ParserOptions,
): string | undefined {
  // A name with dashes is there in camel case as well.
  const plain = (name: string): string => name.replaceAll("-", "").toLowerCase();
  const several = new Set(["_", ...array.map(plain)]);
  return Object.keys(parsed).find(
    (name) => Array.isArray(parsed[name]) && !several.has(plain(name)),
  );
}

function usageError(message: string, argv: readonly string[]): BanyanError {
  const command = COMMANDS.find((name) => argv.includes(name));
  const action = command === "rollout" ? argv[argv.indexOf(command) + 1] : undefined;
  const named = [command, ROLLOUT_ACTIONS.find((name) => name === action)].filter(Boolean);
  const hint = `See: ${["banyan", ...named, "--help"].join(" ")}`;
  const grammar = grammarOf(command, action);
  return new BanyanError("USAGE", inPlainWords(message, grammar), { hint });
}

/** How the named command is written: `history <stream>`. */
function grammarOf(command: string | undefined, action: string | undefined): string {
  const all = MODULES.map((module) => String(module.command));
  const ofAction = ROLLOUT_COMMANDS.find((one) => firstWord(one) === action);
  return ofAction ?? all.find((one) => firstWord(one) === command) ?? "";
}

function inPlainWords(message: string, grammar: string): string {
  const given = /^Not enough non-option arguments: got (\d+)/.exec(message)?.[1];
  if (given === undefined)
    return message.replace(/^Not enough arguments following: (.*)$/, "--$1 needs a value");
  const missing = (grammar.match(/<\w+>/g) ?? [])[Number(given)];
  return missing === undefined ? "an argument is missing" : `the argument ${missing} is missing`;
}

function firstWord(grammar: CommandModule["command"]): string {
  return String(grammar).split(" ")[0]!;
}

function packageVersion(): string {
  // src/cli in the repository, dist/src/cli in the package.
  for (const up of ["../../package.json", "../../../package.json"]) {
    try {
      const text = readFileSync(new URL(up, import.meta.url), "utf8");
      return (JSON.parse(text) as { version: string }).version;
    } catch {
      continue;
    }
  }
  return "unknown";
}
