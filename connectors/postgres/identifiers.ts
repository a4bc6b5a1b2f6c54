/** `"name"` with quotes doubled: an identifier in any statement, whatever is in it. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** `'text'` with quotes doubled; sessions run with standard_conforming_strings. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

export function quoteTable(table: { readonly schema: string; readonly relation: string }): string {
  return `${quoteIdentifier(table.schema)}.${quoteIdentifier(table.relation)}`;
}
