/** Builds messages of the replication protocol byte by byte, as the server would. */

export type CellSpec = string | null | "unchanged-toast" | { readonly binary: string };

export const UNCHANGED = "unchanged-toast";

export function begin(commit: bigint, xid: number, timeUs = 0n): Buffer {
  return join(tag("B"), int64(commit), int64(timeUs), int32(xid));
}

export function commit(at: bigint, end: bigint, timeUs = 0n): Buffer {
  return join(tag("C"), int8(0), int64(at), int64(end), int64(timeUs));
}

export function origin(name: string): Buffer {
  return join(tag("O"), int64(1n), text(name));
}

export interface ColumnSpec {
  readonly name: string;
  readonly type?: number;
  readonly modifier?: number;
  readonly key?: boolean;
}

export function relation(
  oid: number,
  schema: string,
  name: string,
  identity: "d" | "f" | "i" | "n",
  columns: readonly ColumnSpec[],
): Buffer {
  return join(
    tag("R"),
    int32(oid),
    text(schema),
    text(name),
    tag(identity),
    int16(columns.length),
    ...columns.flatMap((column) => [
      int8(column.key === true ? 1 : 0),
      text(column.name),
      int32(column.type ?? 25),
      int32(column.modifier ?? -1),
    ]),
  );
}

export function type(oid: number, schema: string, name: string): Buffer {
  return join(tag("Y"), int32(oid), text(schema), text(name));
}

export function insert(oid: number, row: readonly CellSpec[]): Buffer {
  return join(tag("I"), int32(oid), tag("N"), tuple(row));
}

export function update(
  oid: number,
  row: readonly CellSpec[],
  old?: { readonly kind: "K" | "O"; readonly row: readonly CellSpec[] },
): Buffer {
  const before = old === undefined ? [] : [tag(old.kind), tuple(old.row)];
  return join(tag("U"), int32(oid), ...before, tag("N"), tuple(row));
}

export function remove(oid: number, kind: "K" | "O", row: readonly CellSpec[]): Buffer {
  return join(tag("D"), int32(oid), tag(kind), tuple(row));
}

export function truncate(oids: readonly number[], options = 0): Buffer {
  return join(tag("T"), int32(oids.length), int8(options), ...oids.map(int32));
}

export function message(transactional: boolean, prefix: string, content: string): Buffer {
  const body = Buffer.from(content);
  return join(
    tag("M"),
    int8(transactional ? 1 : 0),
    int64(1n),
    text(prefix),
    int32(body.length),
    body,
  );
}

/** CopyData with XLogData around a message of the plugin. */
export function xlogData(lsn: bigint, body: Buffer): Buffer {
  return copyData(join(tag("w"), int64(lsn), int64(lsn), int64(0n), body));
}

export function keepalive(walEnd: bigint, replyRequested = false): Buffer {
  return copyData(join(tag("k"), int64(walEnd), int64(0n), int8(replyRequested ? 1 : 0)));
}

export function copyData(body: Buffer): Buffer {
  return frame("d", body);
}

export function frame(kind: string, body: Buffer): Buffer {
  return join(tag(kind), int32(body.length + 4), body);
}

export function join(...parts: readonly Buffer[]): Buffer {
  return Buffer.concat(parts);
}

export function tag(char: string): Buffer {
  return Buffer.from(char, "latin1");
}

export function text(value: string): Buffer {
  return Buffer.from(`${value}\0`);
}

export function int8(value: number): Buffer {
  return Buffer.from([value]);
}

export function int16(value: number): Buffer {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(value);
  return b;
}

export function int32(value: number): Buffer {
  const b = Buffer.alloc(4);
  b.writeInt32BE(value | 0);
  return b;
}

export function int64(value: bigint): Buffer {
  const b = Buffer.alloc(8);
  b.writeBigInt64BE(value);
  return b;
}

function tuple(row: readonly CellSpec[]): Buffer {
  return join(
    int16(row.length),
    ...row.map((cell) => {
      if (cell === null) return tag("n");
      if (cell === UNCHANGED) return tag("u");
      const body = Buffer.from(typeof cell === "string" ? cell : cell.binary);
      return join(tag(typeof cell === "string" ? "t" : "b"), int32(body.length), body);
    }),
  );
}
