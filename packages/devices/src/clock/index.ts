export { systemClock, type Clock, type Timer, type WallClock } from "./clock.js";
