import { choose, designs, type Design, type Scenario } from "@vfiokit/lab";
import { UsageError } from "../errors.js";

/** The designs of a list such as "callback,generation"; all of them without one. @throws UsageError */
export function chooseDesigns(list: string | undefined): readonly Design[] {
  if (list === undefined) return designs;
  return list.split(",").map((wanted) => {
    const design = designs.find(({ name }) => name === wanted);
    if (design) return design;
    throw new UsageError(`no design is called "${wanted}": ${designs.map(({ name }) => name).join(", ")}`);
  });
}

/** The scenarios of a pattern. @throws UsageError for one that fits none */
export function chooseScenarios(pattern: string): readonly Scenario[] {
  const scenarios = choose(pattern);
  if (scenarios.length === 0)
    throw new UsageError(`no scenario fits "${pattern}": vfiokit lab list shows them`);
  return scenarios;
}
