export * from "./serial/index.js";
