import type { DraftedRule } from "./drafted-rule.ts";
import type { TableName } from "./table-names.ts";
import { access, call, list, literal, object, type Code } from "./typescript-text.ts";

/** `updated(orders, { status: becomes("paid") }, { data: ["paid_at"] })`. */
export function ruleCode(rule: DraftedRule, names: ReadonlyMap<string, TableName>): Code {
  const table = names.get(rule.table)!.constant;
  switch (rule.on) {
    case "insert": {
      const taken = rule.with.map((name) => names.get(name)!.constant);
      return call(
        "inserted",
        table,
        ...(taken.length === 0 ? [] : [object({ with: list(taken) })]),
      );
    }
    case "update": {
      const when =
        rule.anyOf.length > 0 ? call("changed", ...rule.anyOf.map(literal)) : conditions(rule);
      const options = {
        ...(rule.data.length === 0 ? {} : { data: list(rule.data.map(literal)) }),
        ...(rule.filled === undefined
          ? {}
          : { where: `(now) => ${access("now", rule.filled)} !== null` }),
      };
      return call(
        "updated",
        table,
        when,
        ...(Object.keys(options).length === 0 ? [] : [object(options)]),
      );
    }
    case "delete":
      return call("deleted", table);
  }
}

function conditions({ when }: DraftedRule): Code {
  return object(
    Object.fromEntries(
      when.map(({ column, becomes }) => [
        column,
        becomes === undefined ? "changes()" : `becomes(${literal(becomes)})`,
      ]),
    ),
  );
}
