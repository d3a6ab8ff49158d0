import type { HandOverStatus } from "@vfiokit/core/migration";

/**
 * Why a hand-over keeps clients away, and what ends that: "given away to /run/b.sock at 2026-…: …"; undefined where none
 * does.
 * @param socket of the device, for the commands
 */
export function keptAway(
  { phase, id, to, since }: Omit<HandOverStatus, "wasReset">,
  socket: string,
): string | undefined {
  if (phase === "none" || id === undefined) return undefined;
  const at = since === undefined ? "" : ` at ${since}`;
  const ctl = (step: string) => `vfiokit ctl ${socket} hand-over ${step} ${id}`;
  if (phase === "prepared")
    return (
      `the device waits${at === "" ? "" : ` since${at.slice(3)}`} for the end of hand-over ${id}. To finish it: ` +
      `vfiokit migrate --recover FROM TO. If it certainly does not run elsewhere: ${ctl("activate")}, or ${ctl("discard")}`
    );
  return (
    `the device was given away to ${to ?? "another server"}${at} in hand-over ${id}. To use it here again, as after a reset: ` +
    `${ctl("discard")}. If it certainly does not run elsewhere, as it was: ${ctl("take-back")}. If that is not known: ` +
    `vfiokit migrate --recover FROM TO`
  );
}
