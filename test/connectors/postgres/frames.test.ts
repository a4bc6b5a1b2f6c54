import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { frame, int32, tag } from "./pgoutput-messages.ts";
import { FrameSplitter } from "../../../connectors/postgres/frames.ts";

interface Seen {
  readonly tag: number;
  readonly body: string;
}

function collect(chunks: readonly Buffer[], messageBytesMax?: number): Seen[] {
  const seen: Seen[] = [];
  const frames = new FrameSplitter(
    (code, body, start, end) => seen.push({ tag: code, body: body.toString("hex", start, end) }),
    messageBytesMax,
  );
  for (const chunk of chunks) frames.push(chunk);
  return seen;
}

function cut(bytes: Buffer, points: readonly number[]): Buffer[] {
  const at = [...new Set(points.map((p) => p % (bytes.length + 1)))].sort((a, b) => a - b);
  return [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length));
}

describe("frame splitter", () => {
  test("the same messages come out wherever the bytes are cut", () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 60 })), {
          minLength: 1,
          maxLength: 12,
        }),
        fc.array(fc.nat(), { maxLength: 40 }),
        (messages, points) => {
          const bytes = Buffer.concat(
            messages.map(([code, body]) =>
              Buffer.concat([Buffer.from([code]), int32(body.length + 4), body]),
            ),
          );
          const expected = messages.map(([code, body]) => ({
            tag: code,
            body: Buffer.from(body).toString("hex"),
          }));
          expect(collect(cut(bytes, points))).toEqual(expected);
          expect(collect([...bytes].map((byte) => Buffer.from([byte])))).toEqual(expected);
        },
      ),
    );
  });

  test("a message of 64 MB in pieces of 64 KB takes linear time", () => {
    const bytes = frame("d", Buffer.alloc(64 * 1024 * 1024, 7));
    let length = 0;
    const frames = new FrameSplitter((_tag, _body, start, end) => (length = end - start));
    const started = process.cpuUsage();
    for (let at = 0; at < bytes.length; at += 65_536) frames.push(bytes.subarray(at, at + 65_536));
    expect(length).toBe(64 * 1024 * 1024);
    expect(frames.atBoundary).toBe(true);
    // In time of the processor, which others that wait for it do not make longer.
    const { user, system } = process.cpuUsage(started);
    expect((user + system) / 1_000).toBeLessThan(2_000);
  });

  test("a message longer than the first allocation grows and stays whole", () => {
    const body = Buffer.alloc(70 * 1024 * 1024);
    for (let i = 0; i < body.length; i += 4096) body.writeUInt32LE(i, i);
    const bytes = frame("d", body);
    let same = false;
    const frames = new FrameSplitter((_tag, message, start, end) => {
      same = message.subarray(start, end).equals(body);
    });
    for (let at = 0; at < bytes.length; at += 1_000_000)
      frames.push(bytes.subarray(at, at + 1_000_000));
    expect(same).toBe(true);
  });

  test.each([
    ["negative", -1],
    ["shorter than itself", 3],
    ["beyond the bound", 1_001],
  ])("a length that is %s is a protocol violation, cut anywhere", (_name, length) => {
    const bytes = Buffer.concat([tag("d"), int32(length), Buffer.alloc(20)]);
    for (let at = 0; at <= 6; at++) {
      const chunks = [bytes.subarray(0, at), bytes.subarray(at)];
      expect(() => collect(chunks, 1_000)).toThrowError(
        expect.objectContaining({ code: "PROTOCOL_VIOLATION" }),
      );
    }
  });
});
