import { Errno } from "@vfiokit/core";
import { MigrationState } from "@vfiokit/core/migration";
import { Fd } from "../linux/index.js";
import { errno, libc } from "../linux/libc.js";
import type { MigrationCommands } from "../client/migration.js";
import * as wire from "../wire/index.js";
import { ioctl, kernelError } from "./ioctl.js";

/** Bytes of one read or write: what QEMU takes at once. */
const TRANSFER = 1024 * 1024;

const { GET, SET, PROBE } = wire.FeatureFlags;
/** In these the data goes through a descriptor of its own. */
const WITH_DATA: ReadonlySet<number> = new Set([
  MigrationState.STOP_COPY,
  MigrationState.RESUMING,
  MigrationState.PRE_COPY,
  MigrationState.PRE_COPY_P2P,
]);

type Request<C extends wire.CommandName> = wire.RequestPayload<C>;
type Reply<C extends wire.CommandName> = wire.ReplyPayload<C>;

/**
 * The migration of a kernel's device, behind the same commands as vfio-user's. What differs is the data: the kernel gives
 * a descriptor for a session, to be read or written, and its end is a read of nothing.
 */
export class KernelMigration implements MigrationCommands {
  #session: Fd | undefined;

  constructor(private readonly device: Fd) {}

  maxTransfer(): number {
    return TRANSFER;
  }

  // The promise is vfio-user's: the kernel answers at once.
  // eslint-disable-next-line @typescript-eslint/require-await
  async command<C extends "DEVICE_FEATURE" | "MIG_DATA_READ" | "MIG_DATA_WRITE">(
    command: C,
    payload: Request<C>,
  ): Promise<Reply<C>> {
    switch (command) {
      case "DEVICE_FEATURE":
        return this.#feature(payload as Request<"DEVICE_FEATURE">) as Reply<C>;
      case "MIG_DATA_READ":
        return this.#read(payload as Request<"MIG_DATA_READ">) as Reply<C>;
      case "MIG_DATA_WRITE":
        this.#write(payload as Request<"MIG_DATA_WRITE">);
        return {} as Reply<C>;
    }
  }

  close(): void {
    this.#session?.close();
    this.#session = undefined;
  }

  #feature({ argsz, flags, data }: Request<"DEVICE_FEATURE">): Reply<"DEVICE_FEATURE"> {
    const feature = flags & wire.FEATURE_MASK;
    const operation = flags & (GET | SET | PROBE);
    if (feature === wire.Feature.MIG_PRECOPY_INFO && operation === GET) return this.#precopyInfo(flags);
    const room = new Uint8Array(Math.max(argsz - wire.DeviceFeature.size - data.length, 0));
    const buffer = wire.DeviceFeature.encode({ argsz, flags, data: Buffer.concat([data, room]) });
    ioctl(this.device, "VFIO_DEVICE_FEATURE", buffer, {
      EPERM: "low power and DMA logging need a device that is attached",
    });
    const reply = wire.DeviceFeature.decode(buffer);
    if (feature === wire.Feature.MIG_DEVICE_STATE && operation === SET) this.#changed(reply.data);
    return reply;
  }

  /** The state has changed: the kernel gave a new session, or left the old one where it goes on (PRE_COPY to STOP_COPY). */
  #changed(data: Uint8Array): void {
    const { device_state, data_fd } = wire.FeatureMigState.decode(data);
    if (data_fd < 0 && WITH_DATA.has(device_state)) return;
    this.close();
    if (data_fd >= 0) this.#session = new Fd(data_fd);
  }

  /** struct vfio_precopy_info of the session's descriptor, in the form of vfio-user's feature. */
  #precopyInfo(flags: number): Reply<"DEVICE_FEATURE"> {
    const { size } = wire.FeaturePrecopyInfo;
    const data = wire.FeaturePrecopyInfo.encode({
      argsz: size,
      flags: 0,
      initial_bytes: 0n,
      dirty_bytes: 0n,
    });
    ioctl(this.#open("VFIO_MIG_GET_PRECOPY_INFO"), "VFIO_MIG_GET_PRECOPY_INFO", data);
    return { argsz: wire.DeviceFeature.size + size, flags, data };
  }

  /** Fills what was asked for, as vfio-user means it: less is the end, for now in PRE_COPY. */
  #read({ size }: Request<"MIG_DATA_READ">): Reply<"MIG_DATA_READ"> {
    const session = this.#open("read");
    const data = new Uint8Array(size);
    let done = 0;
    while (done < size) {
      const count = libc.read(session.number, data.subarray(done), size - done);
      if (count === 0) break;
      if (count > 0) done += count;
      else if (errno() === Errno.ENOMSG) break;
      else throw kernelError("read of the migration data", errno(), RESET);
    }
    return { argsz: wire.MigrationData.size + done, size: done, data: data.subarray(0, done) };
  }

  #write({ data }: Request<"MIG_DATA_WRITE">): void {
    const session = this.#open("write");
    for (let done = 0; done < data.length;) {
      const count = libc.write(session.number, data.subarray(done), data.length - done);
      if (count < 0) throw kernelError("write of the migration data", errno(), RESET);
      done += count;
    }
  }

  #open(call: string): Fd {
    if (this.#session) return this.#session;
    throw kernelError(call, Errno.EINVAL, { EINVAL: "the device is in no state with migration data" });
  }
}

const RESET = { ENODEV: "the session has ended: the device was reset, or has left the state" };
