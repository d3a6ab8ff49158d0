import { Command } from "commander";
import { isKernelAddress, openKernelDevice } from "@vfiokit/user/kernel";
import { CommandError } from "../errors.js";
import { connectDevice } from "../shared/connect-device.js";
import { out } from "../output.js";
import { DEVICE_HELP, deviceName } from "../shared/device-name.js";
import { timeoutOption } from "../shared/timeout.js";

interface ResetOptions {
  readonly hot?: boolean;
  readonly json?: true;
  /** Milliseconds. */
  readonly timeout: number;
}

/** `vfiokit reset DEVICE`. */
export function resetCommand(): Command {
  return new Command("reset")
    .argument("<device>", DEVICE_HELP)
    .option("--hot", "reset its slot or bus, with every function there (kernel devices)")
    .addOption(timeoutOption())
    .option("--json", "print the result as one line of JSON")
    .action(async (text: string, { hot = false, json, timeout }: ResetOptions) => {
      const name = deviceName(text);
      const functions = hot ? await hotReset(name) : await reset(name, timeout);
      if (json) out.json({ device: name, reset: functions });
      else out.line(`reset ${functions.join(", ")}`);
    });
}

async function reset(name: string, timeoutMs: number): Promise<string[]> {
  using device = await connectDevice(name, timeoutMs);
  await device.reset();
  return [name];
}

/** @returns the functions that were reset */
async function hotReset(name: string): Promise<string[]> {
  if (!isKernelAddress(name))
    throw new CommandError(`${name}: for a served card that is vfiokit ctl ${name} hot-reset`);
  using device = openKernelDevice(name);
  const affected = await device.hotResetInfo();
  await device.hotReset();
  return affected.map(({ address }) => address);
}
