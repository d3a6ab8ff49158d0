/** Twenty devices, and where each is served. */

import { join } from "node:path";

export const deviceKinds = ["serial", "counter", "memory-card"] as const;
export type DeviceKind = (typeof deviceKinds)[number];

export interface SoakDevice {
  readonly name: string;
  readonly kind: DeviceKind;
  /** Where its client connects. */
  readonly path: string;
  /** Behind a relay: the servers that it is moved between. */
  readonly servers: readonly [string, string] | undefined;
}

/** What each process serves, in the words of the host program. */
export interface SoakPlan {
  readonly devices: readonly SoakDevice[];
  readonly processes: Readonly<Record<"devices" | "servers" | "spares" | "relays", readonly string[]>>;
}

/** Of each kind, served directly. */
const DIRECT: Record<DeviceKind, number> = { serial: 5, counter: 5, "memory-card": 4 };
/** Of each kind, behind a relay. */
const RELAYED = 2;

export function plan(folder: string): SoakPlan {
  const at = (name: string): string => join(folder, name);
  const devices: SoakDevice[] = [];
  const processes = {
    devices: [] as string[],
    servers: [] as string[],
    spares: [] as string[],
    relays: [] as string[],
  };
  for (const kind of deviceKinds) {
    for (let i = 0; i < DIRECT[kind]; i++) {
      const name = `${kind}-${i}`;
      devices.push({ name, kind, path: at(name), servers: undefined });
      processes.devices.push(`${kind}=${at(name)}`);
    }
    for (let i = 0; i < RELAYED; i++) {
      const name = `relayed-${kind}-${i}`;
      const [server, spare] = [at(`${name}-a`), at(`${name}-b`)];
      devices.push({ name, kind, path: at(name), servers: [server, spare] });
      processes.servers.push(`${kind}=${server}`);
      processes.spares.push(`${kind}=${spare}`);
      processes.relays.push(`relay=${at(name)},${server}`);
    }
  }
  return { devices, processes };
}
