import { Option } from "commander";

/** `--sysfs`: where sysfs is mounted; elsewhere in tests. */
export function sysfsOption(): Option {
  return new Option("--sysfs <folder>", "where sysfs is mounted").default("/sys").hideHelp();
}
