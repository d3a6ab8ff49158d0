import { readFileSync } from "node:fs";
import { Header } from "@vfiokit/user/wire";

/** A message of a recording. */
export interface Recorded {
  /** One letter for each connection. */
  readonly connection: string;
  readonly toServer: boolean;
  readonly fds: number;
  readonly bytes: Uint8Array;
}

/** Reads a recording beside this file, whose head says how it was taken and what its lines are. */
export function recording(name: string): Recorded[] {
  const text = readFileSync(new URL(name, import.meta.url), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => {
      const [connection, direction, fds, hex] = line.split(" ") as [string, string, string, string];
      const whole = hex.replace(/\((..)\*(\d+)\)/g, (_run, byte: string, count: string) =>
        byte.repeat(Number(count)),
      );
      const bytes = Uint8Array.from(Buffer.from(whole, "hex"));
      return { connection, toServer: direction === ">", fds: Number(fds), bytes };
    });
}

/** The fields of a message's header. */
export function headerOf(bytes: Uint8Array): { id: number; cmd: number; flags: number; errno: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { msg_id, cmd, flags, error_no } = Header.offset;
  return {
    id: view.getUint16(msg_id, true),
    cmd: view.getUint16(cmd, true),
    flags: view.getUint32(flags, true),
    errno: view.getUint32(error_no, true),
  };
}
