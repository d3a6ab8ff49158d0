import { Command, Option } from "commander";

/** `lockdep`: deadlocks found before they happen, and kernel reports explained. */
export function lockdepCommand(): Command {
  return new Command("lockdep")
    .description("Checks lock protocols, and explains lockdep reports in kernel logs.")
    .addCommand(checkCommand())
    .addCommand(explainCommand());
}

/** `lockdep check FILE…`: the verdict of lock protocols, and why. */
function checkCommand(): Command {
  const command = new Command("check")
    .description(
      "Checks lock protocols in YAML or JSON: can tasks that take these locks in these orders deadlock?",
    )
    .argument("<file...>", "lock protocols")
    .option("--scenario <name>", "only the scenario of this name")
    .addOption(
      new Option("--promela", "print the scenario as a model for SPIN").conflicts([
        "svg",
        "dot",
        "mermaid",
        "json",
      ]),
    )
    .addHelpText(
      "after",
      '\nExit code 1 if a scenario\'s verdict is not the expected one ("clean", unless the file says otherwise).',
    );
  return addPictureOptions(command).action(async (files: string[], options: object) => {
    await (await import("./check.js")).check(files, options);
  });
}

/** `lockdep explain FILE|-`: lockdep's reports in a kernel log, in plain words. */
function explainCommand(): Command {
  const command = new Command("explain")
    .description(
      "Finds lockdep's reports in a kernel log and says in plain words what is wrong, and what to change: also hung tasks, workqueue lockups, and sleeps where nothing may sleep.",
    )
    .argument("<file>", 'a kernel log, or "-" for standard input')
    .option(
      "--decode <file>",
      "show file and line of every place, from the debugging information of this vmlinux or module (.ko); may be given more than once",
      (file: string, files: readonly string[] | undefined) => [...(files ?? []), file],
    )
    .addHelpText("after", "\nExit code 1 if the log has no such report.");
  return addPictureOptions(command).action(async (file: string, options: object) => {
    await (await import("./explain.js")).explain(file, options);
  });
}

/** How a report can be printed instead of as text: at most one of these. */
function addPictureOptions(command: Command): Command {
  const others = ["svg", "dot", "mermaid", "json", "promela"];
  const option = (name: string, description: string): Option =>
    new Option(`--${name}`, description).conflicts(others.filter((other) => other !== name));
  return command
    .addOption(option("svg", "print a picture of the first problem as SVG"))
    .addOption(option("dot", "print pictures of the problems for Graphviz"))
    .addOption(option("mermaid", "print pictures of the problems for Mermaid"))
    .addOption(option("json", "print everything as JSON"));
}
