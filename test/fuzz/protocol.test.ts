import { describe, expect, it } from "vitest";
import { campaign, formatFault, type Fault } from "./campaign.js";
import { serverKinds } from "./target.js";

/** The sessions of a seed that is always the same find again what they have found once, those of another one more. */
const ALWAYS = 20251120;
const SEED = Number(process.env["FUZZ_SEED"] ?? Math.floor(Math.random() * 1e9));
const SESSIONS = 200;
/** Of each server, both seeds together: a machine that is busy plays fewer sessions. */
const SECONDS = 12;

describe.each(serverKinds)("damaged sessions leave a server as it was: %s", (server) => {
  it(
    `no crash, no answer late, nothing left behind (seeds ${ALWAYS}, ${SEED})`,
    { timeout: 120_000 },
    async () => {
      const faults: Fault[] = [];
      let messages = 0;
      for (const seed of [ALWAYS, SEED]) {
        const signal = AbortSignal.timeout((SECONDS * 1000) / 2);
        const onFault = (fault: Fault) => void faults.push(fault);
        const { counts } = await campaign({ server, seed, sessions: SESSIONS, signal, onFault });
        messages += counts.messages;
        // Sessions get far: most of what is asked is carried out.
        expect(counts.refused).toBeLessThan(counts.answers / 2);
      }
      expect(faults.map(formatFault).join("\n\n")).toBe("");
      expect(messages).toBeGreaterThan(100);
    },
  );
});
