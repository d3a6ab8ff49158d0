// Preloaded (node --import): what node:fs does with the path $FAULT_PATH, or with any regular file, fails with $FAULT_CODE.
// $FAULT_ON: "open" or "write".
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { constants } from "node:os";

const { FAULT_PATH: path = "", FAULT_CODE: code = "EIO", FAULT_ON: on = "open" } = process.env;

/** @param {string} syscall */
const failure = (syscall) =>
  Object.assign(new Error(`${code}: injected, ${syscall}`), {
    code,
    syscall,
    errno: -(/** @type {Record<string, number>} */ (constants.errno)[code] ?? 5),
  });

if (on === "open") {
  const { open, openSync, readFileSync, promises } = fs;
  const promisedOpen = promises.open;
  /** @param {unknown} at */
  const fails = (at) => typeof at === "string" && at.includes(path);
  Object.assign(fs, {
    /** @param {Parameters<typeof open>} args */
    open: (...args) => {
      const done = /** @type {(error: Error) => void} */ (args.at(-1));
      if (fails(args[0])) done(failure("open"));
      else open(...args);
    },
    /** @param {Parameters<typeof openSync>} args */
    openSync: (...args) => {
      if (fails(args[0])) throw failure("open");
      return openSync(...args);
    },
    /** @param {Parameters<typeof readFileSync>} args */
    readFileSync: (...args) => {
      if (fails(args[0])) throw failure("open");
      return readFileSync(...args);
    },
  });
  /** @param {Parameters<typeof promisedOpen>} args */
  promises.open = (...args) => (fails(args[0]) ? Promise.reject(failure("open")) : promisedOpen(...args));
} else {
  const probe = await fs.promises.open("/dev/null");
  Object.assign(/** @type {object} */ (Reflect.getPrototypeOf(probe)), {
    [on]: () => Promise.reject(failure(on)),
  });
  await probe.close();
  const { writeFileSync } = fs;
  /** @param {Parameters<typeof writeFileSync>} args */
  fs.writeFileSync = (...args) => {
    if (String(args[0]).includes(path)) throw failure("write");
    writeFileSync(...args);
  };
}
syncBuiltinESMExports();
