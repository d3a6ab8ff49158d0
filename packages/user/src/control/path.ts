import { existsSync } from "node:fs";

/** Where the control socket of the server at `socket` is by default. */
export function controlPath(socket: string): string {
  return `${socket}.ctl`;
}

/** The control socket that a user means who names it, or the server's socket. */
export function findControlSocket(path: string): string {
  const beside = controlPath(path);
  return existsSync(beside) ? beside : path;
}
