import { existsSync } from "node:fs";
import { VfioError } from "@vfiokit/core";

/** Where the control socket of the server at `socket` is by default. */
export function controlPath(socket: string): string {
  return `${socket}.ctl`;
}

/**
 * The control socket of whatever is served at `path`: the one beside it, or `path` itself where it is named like one. What
 * else is there may be a vfio-user socket, to which nothing but vfio-user is sent: libvfio-user's sample ends otherwise.
 */
export function controlSocketOf(path: string): string | undefined {
  const beside = controlPath(path);
  if (existsSync(beside)) return beside;
  return path.endsWith(controlPath("")) ? path : undefined;
}

/**
 * The control socket that a user means who names it, or the server's socket.
 * @throws VfioError ENOENT: there is none beside `path`, and by its name `path` is none
 */
export function findControlSocket(path: string): string {
  const found = controlSocketOf(path);
  if (found === undefined)
    throw new VfioError(
      "ENOENT",
      `${controlPath(path)}: no control socket there, and ${path} may be a vfio-user socket: by its name it is no control socket`,
    );
  return found;
}
