/**
 * How near Banyan comes to what the database itself can do. Every limit is measured in the same run;
 * the ratios mean something, the absolute figures only describe the machine.
 *
 *   npm run bench [-- --changes 1000000 --rows 1000000 --rounds 1 --only throughput|latency|chunks|verify|impact|proxy|shadow|hold --beside verify,baseline --load 0.5]
 */
import { parseArgs } from "node:util";
import { benchChunkedBaseline } from "./chunked-baseline.ts";
import { benchHold } from "./hold.ts";
import { benchImpact } from "./impact.ts";
import { benchLatency } from "./latency.ts";
import { describeMachine, say } from "./support.ts";
import { benchProxy } from "./proxy.ts";
import { benchShadow } from "./shadow.ts";
import { benchThroughput } from "./throughput.ts";
import { benchVerify } from "./verify.ts";

const { values } = parseArgs({
  options: {
    changes: { type: "string", default: "1000000" },
    rows: { type: "string", default: "1000000" },
    rounds: { type: "string", default: "1" },
    identity: { type: "string", default: "full,default" },
    beside: { type: "string", default: "verify,baseline" },
    load: { type: "string", default: "0.5" },
    only: { type: "string", default: "throughput,latency,chunks,verify,impact,proxy,shadow,hold" },
  },
});

say(describeMachine());
if (values.only.includes("throughput")) {
  for (const identity of ["full", "default"] as const) {
    if (!values.identity.split(",").includes(identity)) continue;
    await benchThroughput({
      rows: Number(values.rows),
      changes: Number(values.changes),
      rounds: Number(values.rounds),
      identity,
    });
  }
}
if (values.only.includes("latency")) await benchLatency({ changesPerSecond: 1_000, seconds: 20 });
if (values.only.includes("chunks")) {
  for (const identity of ["full", "default"] as const) {
    if (!values.identity.split(",").includes(identity)) continue;
    const rounds = Math.max(2, Number(values.rounds));
    await benchChunkedBaseline({ rows: Number(values.rows), rounds, identity });
  }
}
if (values.only.includes("verify"))
  await benchVerify({ rows: Number(values.rows), rounds: Math.max(3, Number(values.rounds)) });
if (values.only.includes("impact"))
  await benchImpact({
    rows: Number(values.rows),
    rounds: Math.max(3, Number(values.rounds)),
    beside: (["verify", "baseline"] as const).filter((what) => values.beside.includes(what)),
  });
if (values.only.includes("proxy"))
  await benchProxy({ rounds: Math.max(3, Number(values.rounds)), seconds: 5 });
if (values.only.includes("shadow"))
  await benchShadow({
    rounds: Math.max(8, Number(values.rounds)),
    seconds: 4,
    load: Number(values.load),
  });
if (values.only.includes("hold")) await benchHold();
