export { guardedClock, systemClock, type Clock, type Timer, type WallClock } from "./clock.js";
