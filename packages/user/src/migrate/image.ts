import { VfioError } from "@vfiokit/core";
import type { DeviceIdentity } from "@vfiokit/core/migration";
import type { EndpointDescription } from "./endpoint.js";
import { isAnswer, isReset, reasonOf } from "./errors.js";
import { LocalEnd, type LocalEndOptions } from "./local-end.js";
import { pump } from "./pump.js";

/** What was saved of a device. */
export interface SavedImage {
  readonly identity: DeviceIdentity;
  readonly bytes: number;
  /** How long the device was stopped. */
  readonly paused_ms: number;
}

/**
 * Saves the device that is served at `path`: it is stopped, its image goes to `write`, one chunk after the
 * other, and it runs on.
 * @throws VfioError EBUSY: the server has another client; ECANCELED: the device was reset meanwhile, or `signal`; what
 *   `write` throws. The device runs on
 */
export async function saveImage(
  path: string,
  write: (bytes: Uint8Array) => Promise<void>,
  options: LocalEndOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<SavedImage> {
  const end = await LocalEnd.connect(path, options, false);
  try {
    const { identity } = await migratable(end);
    const { migration } = end.client;
    const { signal } = options;
    const begunAt = performance.now();
    await end.named(migration.setState("STOP_COPY"));
    let bytes: number;
    try {
      const source = { read: () => end.named(migration.read()) };
      bytes = await pump(source, { write, oneAtATime: true }, Infinity, {
        beforeWrite: () => {
          if (signal?.aborted) throw new VfioError("ECANCELED", `${path}: saving was cancelled`);
          return undefined;
        },
        written: () => undefined,
      });
    } catch (error) {
      await migration.setState("RUNNING").catch(() => undefined);
      if (isReset(error) && !signal?.aborted)
        throw new VfioError(
          "ECANCELED",
          `${path}: the device was reset while it was saved: ${reasonOf(error)}`,
        );
      throw error;
    }
    await end.named(migration.setState("RUNNING"));
    return { identity, bytes, paused_ms: performance.now() - begunAt };
  } finally {
    end.close();
  }
}

/**
 * Loads an image into the device that is served at `path`, which then runs on it.
 * @param check looks at the device, and at the image, before anything is done to the device, and throws to refuse
 * @param options dryRun: that is all
 * @throws VfioError EBUSY: the server has another client; EINVAL: the device refuses the image, and runs on untouched;
 *   what `check` and `image` throw
 */
export async function restoreImage(
  path: string,
  image: AsyncIterable<Uint8Array>,
  check: (device: EndpointDescription) => void | Promise<void> = () => undefined,
  options: LocalEndOptions & { readonly dryRun?: boolean } = {},
): Promise<{ readonly bytes: number }> {
  const end = await LocalEnd.connect(path, options, options.dryRun !== true);
  try {
    await check(await migratable(end));
    if (options.dryRun) return { bytes: 0 };
    const { migration } = end.client;
    await end.named(migration.setState("RESUMING"));
    let bytes = 0;
    try {
      for await (const chunk of image) {
        await end.named(migration.write(chunk));
        bytes += chunk.length;
      }
      await end.named(migration.setState("STOP"));
    } catch (error) {
      if (!isAnswer(error) || isReset(error)) throw error;
      // Large memory is loaded as it comes: what is refused after that has left its traces.
      const touched = (await end.named(migration.state())) === "ERROR";
      if (touched) await end.named(end.client.reset());
      // When its client goes, a device that has not been loaded runs on as it was.
      const now = touched ? "the device, which has part of it, was reset" : "the device runs on as it was";
      throw new VfioError(error.code, `the image is refused, and ${now}: ${reasonOf(error)}`);
    }
    await end.named(migration.setState("RUNNING"));
    return { bytes };
  } finally {
    end.close();
  }
}

async function migratable(end: LocalEnd): Promise<EndpointDescription> {
  const device = await end.describe();
  if (device.flags === 0)
    throw new VfioError("EOPNOTSUPP", `${end.path}: the device cannot be saved: it declares no state`);
  if (device.state !== "RUNNING")
    throw new VfioError("EBUSY", `${end.path}: the device is in ${device.state}, not RUNNING`);
  return device;
}
