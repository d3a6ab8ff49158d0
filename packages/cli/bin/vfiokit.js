#!/usr/bin/env node
// Committed, so that npm can link the command before the first build.
import * as module from "node:module";

// Keeps compiled code for the next start. Node 20 has no such thing, and so its types have not.
const { enableCompileCache } = /** @type {{ enableCompileCache?: () => void }} */ (module);
enableCompileCache?.();
await import("../dist/main.js");
