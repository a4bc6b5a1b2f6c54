import { readFileSync } from "node:fs";

/*
 * What the captures of a round load before their program.
 *
 * Shifts the clock by the milliseconds that stand in the file BANYAN_TEST_CLOCK: as the clock of a
 * machine that is set while programs run. Timers and performance.now() go on as they do then.
 *
 * Ends the process when the one that started it is gone: nobody else would.
 */
const LOOK_MS = 100;
const RealDate = Date;
const realNow = Date.now.bind(Date);
const parent = process.ppid;
let shiftMs = 0;

const now = (): number => realNow() + shiftMs;

function look(): void {
  if (process.ppid !== parent) process.kill(process.pid, "SIGKILL");
  try {
    shiftMs = Number(readFileSync(process.env["BANYAN_TEST_CLOCK"]!, "utf8"));
  } catch {
    // There is none, or it is being replaced; the next look finds it.
  }
}

function ShiftedDate(...parts: readonly unknown[]): unknown {
  if (new.target === undefined) return new RealDate(now()).toString();
  const given = parts.length === 0 ? [now()] : parts;
  const made: unknown = Reflect.construct(
    RealDate,
    given,
    new.target === ShiftedDate ? RealDate : new.target,
  );
  return made;
}
Object.setPrototypeOf(ShiftedDate, RealDate);
globalThis.Date = Object.assign(ShiftedDate as unknown as DateConstructor, {
  prototype: RealDate.prototype,
  now,
});

look();
setInterval(look, LOOK_MS).unref();
