import type { Fault } from "./fault.ts";
import { alterTables } from "./faults/alter-tables.ts";
import {
  cutSourceWire,
  cutStoreWire,
  halfOpenSourceWire,
  halfOpenStoreWire,
  stallSourceWire,
  stallStoreWire,
} from "./faults/break-wire.ts";
import { crashSource, crashStore } from "./faults/crash-server.ts";
import { endCapture } from "./faults/end-capture.ts";
import { endSessions } from "./faults/end-sessions.ts";
import { fillSpillDisk, fillStoreDisk } from "./faults/fill-disk.ts";
import { freezeCapture } from "./faults/freeze-capture.ts";
import { holdSlot } from "./faults/hold-slot.ts";
import { hugeTransaction } from "./faults/huge-transaction.ts";
import { joinTables } from "./faults/join-tables.ts";
import { jumpClock } from "./faults/jump-clock.ts";
import { killCapture, killCaptureAtPoint } from "./faults/kill-capture.ts";
import { longTransaction, preparedTransaction } from "./faults/long-transaction.ts";
import { readAnew } from "./faults/read-anew.ts";
import { subtransactions } from "./faults/subtransactions.ts";
import { truncateTable } from "./faults/truncate-table.ts";
import { twoCaptures } from "./faults/two-captures.ts";
import { verifyMeanwhile } from "./faults/verify.ts";

/** Everything that a round does to its world. */
export const FAULTS: readonly Fault[] = [
  killCapture,
  killCaptureAtPoint,
  freezeCapture,
  endCapture,
  twoCaptures,
  crashSource,
  crashStore,
  cutSourceWire,
  cutStoreWire,
  halfOpenSourceWire,
  halfOpenStoreWire,
  stallSourceWire,
  stallStoreWire,
  endSessions,
  fillStoreDisk,
  fillSpillDisk,
  holdSlot,
  jumpClock,
  hugeTransaction,
  longTransaction,
  preparedTransaction,
  subtransactions,
  alterTables,
  truncateTable,
  verifyMeanwhile,
  joinTables,
  readAnew,
];
