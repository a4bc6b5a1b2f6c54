import { BanyanError } from "../model/errors.ts";

/** @param text `9464` or `0.0.0.0:9464`; a port alone is one of this machine only */
export function parseListenAddress(text: string): { readonly host: string; readonly port: number } {
  const [, host = "127.0.0.1", port] = /^(?:(.+):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65_535) {
    throw new BanyanError("USAGE", `"${text}" is no address to listen on`, {
      hint: "Name a port, e.g. 9464, or an address and a port, e.g. 10.0.0.5:9464",
    });
  }
  return { host: host.replace(/^\[(.*)\]$/, "$1"), port: Number(port) };
}
