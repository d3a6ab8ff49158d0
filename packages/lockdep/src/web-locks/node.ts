/** In Node, what a callback requests after an `await` is seen too. */
import "../node/acquisition.js";

export * from "./index.js";
