import { resolve } from "node:path";
import { Command } from "commander";
import { describeIdentity } from "@vfiokit/core/migration";
import { checkImage, RelayClient, restoreImage, type EndpointDescription } from "@vfiokit/user";
import { CommandError } from "../errors.js";
import { out } from "../output.js";
import { DEVICE_HELP, deviceName } from "../shared/device-name.js";
import { inputName, KeptImage, openImage } from "../shared/image-input.js";
import { inspectOpened, problemText } from "../shared/inspect-image.js";
import { bytes } from "../shared/tables.js";
import { timeoutOption } from "../shared/timeout.js";

/** Bytes of a device's sections that are no memory, at most: what a device reads into its own. */
const MAX_SECTIONS_BYTES = 256 * 1024 * 1024;
/** Headers of records, for a byte of memory. */
const OVERHEAD = 1 / 1024;

interface RestoreOptions {
  readonly dryRun?: true;
  readonly json?: true;
  /** Milliseconds. */
  readonly timeout: number;
}

/** `vfiokit restore FILE DEVICE`. */
export function restoreCommand(): Command {
  return new Command("restore")
    .argument("<file>", "file written by vfiokit save; a FIFO, or -: standard input")
    .argument("<device>", DEVICE_HELP)
    .addOption(timeoutOption())
    .option("--dry-run", "only check whether the device takes it")
    .option("--json", "print the result as one line of JSON")
    .action(async (file: string, device: string, options: RestoreOptions) => {
      const path = deviceName(device);
      const size = await restore(file, path, options.dryRun === true, options.timeout);
      const target = file === "-" ? file : resolve(file);
      if (options.json)
        out.json({ file: target, socket: path, bytes: size, ...(options.dryRun && { dryRun: true }) });
      else if (options.dryRun) out.line(`${path} takes ${inputName(file)}: ${bytes(size)}`);
      else out.line(`restored ${path}: ${bytes(size)}`);
    });
}

/** Loads an image into the device behind a socket. @returns bytes of the image @throws CommandError, VfioError */
export async function restore(
  file: string,
  path: string,
  dryRun: boolean,
  timeoutMs: number,
): Promise<number> {
  await assertIdle(path, timeoutMs);
  await using image = await KeptImage.open(file);
  let size = 0;
  // Only a server of ours says what its streams are made of. What another one takes, it alone can judge.
  let foreign = false;
  const check = async (device: EndpointDescription): Promise<void> => {
    foreign = device.stream === undefined;
    if (!foreign) size = await checkKept(image, device);
    else if (dryRun)
      throw new CommandError(`${path} does not tell what it takes: only restoring would show it`);
  };
  async function* chunks(): AsyncGenerator<Uint8Array> {
    yield* (foreign ? await openImage(file) : await image.again()).chunks;
  }
  const loaded = await restoreImage(path, chunks(), check, { dryRun, timeoutMs });
  return dryRun ? size : loaded.bytes;
}

/** Another state under a running guest is no device that its driver knows. */
async function assertIdle(path: string, timeoutMs: number): Promise<void> {
  using relay = await RelayClient.open(path, timeoutMs);
  if ((await relay?.status(timeoutMs))?.connected)
    throw new CommandError(
      `${path}: the relay's client uses the device, whose state cannot be replaced meanwhile: disconnect it, or restore ` +
        `another server, and have the client start there`,
    );
}

/** Reads the image to its end, and compares it with the device. @throws CommandError, VfioError: the device would not take it */
async function checkKept(image: KeptImage, device: EndpointDescription): Promise<number> {
  const memory = device.stream!.sections.reduce((sum, { size = 0 }) => sum + size, 0);
  const limit = Math.ceil(memory * (1 + OVERHEAD)) + MAX_SECTIONS_BYTES;
  const opened = await image.first(() => limit);
  // What is wrong already will not get better, however much comes.
  const { begin, problem, ...rest } = await inspectOpened(opened, ({ problem }) => problem === undefined);
  const untouched = `${device.name} is untouched`;
  if (problem) throw new CommandError(`${image.name}: ${problemText(problem)}; ${untouched}`);
  if (begin && describeIdentity(begin.identity) !== describeIdentity(device.identity))
    throw new CommandError(
      `${image.name} is of another device: ${describeIdentity(begin.identity)}; ` +
        `at ${device.name} is ${describeIdentity(device.identity)}, which is untouched`,
    );
  checkImage(image.name, { begin, ...rest }, device);
  return rest.bytes;
}
