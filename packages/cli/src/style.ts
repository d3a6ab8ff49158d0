export { Style } from "@vfiokit/lockdep/bin";
