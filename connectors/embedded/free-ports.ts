import { createServer, type AddressInfo } from "node:net";

/** A port of loopback on which nobody listens just now. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}

/** So many, no two alike: each is held until there are all, because a system may give one twice that was let go. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const probes = Array.from({ length: count }, () => createServer());
  try {
    return await Promise.all(
      probes.map(
        (probe) =>
          new Promise<number>((done, fail) => {
            probe.once("error", fail);
            probe.listen(0, "127.0.0.1", () => done((probe.address() as AddressInfo).port));
          }),
      ),
    );
  } finally {
    await Promise.all(probes.map((probe) => new Promise((done) => probe.close(done))));
  }
}
