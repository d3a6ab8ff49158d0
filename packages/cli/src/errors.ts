/** Those of every command of ours: `lockdep` has one of its own, without PCI. */
export { CommandError, ExitCode, UsageError } from "@vfiokit/lockdep/bin";
