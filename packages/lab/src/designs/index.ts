import type { Design } from "../design.js";
import { callback } from "./callback.js";
import { deferredReset } from "./deferred.js";
import { generation } from "./generation.js";
import { locked } from "./locked.js";
import { release } from "./release.js";

/** In the order of history. */
export const designs: readonly Design[] = [locked, deferredReset, callback, release, generation];
