/** Servers, a relay and clients in one process. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { PciDevice } from "@vfiokit/core";
import { Task } from "@vfiokit/lockdep";
import { AdminServer, DeviceAdmin } from "../../src/admin/index.js";
import { VfioUserClient, type ClientOptions } from "../../src/client/index.js";
import { Relay, type RelayOptions } from "../../src/relay/index.js";
import { VfioUserServer, type ServerOptions } from "../../src/server/index.js";
import { testDevice, type TestFunction } from "../server/support.js";

export interface TestServer {
  readonly path: string;
  readonly device: PciDevice;
  readonly fn: TestFunction;
  readonly log: string[];
  /** Drops the client, and serves the same device again. */
  dropClient(): Promise<void>;
  close(): Promise<void>;
}

export class Place {
  readonly folder = mkdtempSync(join(tmpdir(), "vfiokit-"));
  readonly log: string[] = [];
  #count = 0;

  constructor() {
    onTestFinished(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  get relayPath(): string {
    return join(this.folder, "relay.sock");
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  async server(options: Omit<ServerOptions, "fd" | "socketPath"> = {}): Promise<TestServer> {
    const path = this.path(`server${this.#count++}.sock`);
    return this.serverAt(path, options);
  }

  async serverAt(path: string, options: Omit<ServerOptions, "fd" | "socketPath"> = {}): Promise<TestServer> {
    const { device, fn } = testDevice();
    const log: string[] = [];
    const serve = async (): Promise<VfioUserServer> => {
      const one = new VfioUserServer(device, {
        ...options,
        socketPath: path,
        log: (level, message) => log.push(`${level}: ${message}`),
      });
      await one.listen();
      return one;
    };
    let server = await serve();
    const ctl = new AdminServer(new DeviceAdmin(device, server), { socketPath: `${path}.ctl` });
    ctl.listen();
    let closed: Promise<void> | undefined;
    const close = (): Promise<void> =>
      (closed ??= Promise.all([ctl.close(), server.close()]).then(() => device.close(new Task("test"))));
    onTestFinished(close);
    const dropClient = async (): Promise<void> => {
      await server.close();
      server = await serve();
    };
    return { path, device, fn, log, dropClient, close };
  }

  relay(serverPath: string, options: Partial<RelayOptions> = {}): Relay {
    const relay = new Relay({
      listenPath: this.relayPath,
      serverPath,
      log: (level, message) => this.log.push(`${level}: ${message}`),
      ...options,
    });
    relay.listen();
    onTestFinished(() => relay.close());
    return relay;
  }

  async client(options: ClientOptions = {}): Promise<VfioUserClient> {
    const client = await VfioUserClient.connect(this.relayPath, options);
    onTestFinished(() => client.close());
    return client;
  }
}
