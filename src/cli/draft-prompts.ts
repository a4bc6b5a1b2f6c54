import type { Prompter } from "./draft-ask.ts";

/** Streams of the terminal; the process's own when absent. The result on stdout is never mixed with it. */
interface Terminal {
  readonly input?: NodeJS.ReadableStream;
  readonly output?: NodeJS.WritableStream;
}

const PAGE_SIZE = 12;

/** Prompts on stderr. Aborted, or ended by Ctrl-C, they throw an `AbortError`. */
export async function terminalPrompter(
  signal: AbortSignal,
  { input = process.stdin, output = process.stderr }: Terminal = {},
): Promise<Prompter> {
  const { checkbox, input: text, select } = await import("@inquirer/prompts");
  const context = { signal, input, output };
  return {
    choose: (message, options) =>
      ended(select({ message, choices: [...options], pageSize: PAGE_SIZE }, context)),
    tick: (message, options) =>
      ended(
        checkbox(
          {
            message,
            pageSize: PAGE_SIZE,
            choices: options.map(({ ticked, ...option }) => ({ ...option, checked: ticked })),
          },
          context,
        ),
      ),
    type: (message, given, validate) =>
      ended(text({ message, default: given, prefill: "editable", validate }, context)),
  };
}

async function ended<T>(prompt: Promise<T>): Promise<T> {
  try {
    return await prompt;
  } catch (error) {
    const name = error instanceof Error ? error.name : "";
    if (name !== "ExitPromptError" && name !== "AbortPromptError") throw error;
    throw new DOMException("the questions were not answered", "AbortError");
  }
}
