import { UsageError } from "../../errors.js";

/** A Redis or Valkey server, as an option names it. */
export interface RedisTarget {
  readonly options: {
    readonly host?: string;
    readonly port?: number;
    readonly path?: string;
    readonly db?: number;
    readonly tls?: object;
    readonly username?: string;
    readonly password?: string;
  };
  /** For messages: without the password. */
  readonly shown: string;
}

/** "redis://user:password@host:6379/0", "rediss://…" with TLS, "unix:///run/redis.sock". @throws UsageError */
export function parseRedisUrl(text: string): RedisTarget {
  if (!URL.canParse(text)) throw new UsageError(`--queue "${text}": a URL, as in "redis://127.0.0.1:6379"`);
  const url = new URL(text);
  const credentials = {
    ...(url.username !== "" && { username: decodeURIComponent(url.username) }),
    ...(url.password !== "" && { password: decodeURIComponent(url.password) }),
  };
  if (url.password !== "") url.password = "***";
  if (url.protocol === "unix:") {
    if (url.pathname === "")
      throw new UsageError(`--queue "${text}": a path, as in "unix:///run/redis.sock"`);
    return { options: { path: decodeURIComponent(url.pathname), ...credentials }, shown: url.href };
  }
  if (url.protocol !== "redis:" && url.protocol !== "rediss:")
    throw new UsageError(`--queue "${url.href}": redis://, rediss:// or unix://, and not ${url.protocol}//`);
  const db = url.pathname.slice(1);
  if (!/^\d*$/.test(db))
    throw new UsageError(`--queue "${url.href}": the database is a number, and not "${db}"`);
  if (url.hostname === "") throw new UsageError(`--queue "${url.href}": no host`);
  return {
    options: {
      host: url.hostname.replace(/^\[(.*)\]$/, "$1"),
      port: Number(url.port || 6379),
      ...(db !== "" && { db: Number(db) }),
      ...(url.protocol === "rediss:" && { tls: {} }),
      ...credentials,
    },
    shown: url.href,
  };
}
