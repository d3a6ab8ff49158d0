export * from "./clock/index.js";
export * from "./serial/index.js";
export * from "./multifunction/index.js";
export * from "./memory-card/index.js";
