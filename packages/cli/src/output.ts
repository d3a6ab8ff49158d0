/** What commands print: all of it, and nothing else of them touches standard output and standard error. */
export { err, out, Output, printableJson, shown } from "@vfiokit/lockdep/bin";
