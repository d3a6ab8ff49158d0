export * from "./serial/index.js";
export * from "./multifunction/index.js";
