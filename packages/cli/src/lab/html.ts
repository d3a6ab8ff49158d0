import { lstatSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { reportHtml, reportModel, type Bounds, type LabReport } from "@vfiokit/lab";
import { CommandError, UsageError } from "../errors.js";

/** Looks whether a report can be written there: better known before the run than after. @throws UsageError */
export function checkHtmlTarget(file: string): void {
  const there = lstatSync(file, { throwIfNoEntry: false });
  if (there?.isDirectory()) throw new UsageError(`--html "${file}": a directory; the report is a file`);
  // The report takes the file's place: devices, pipes and links, such as /dev/stdout, keep theirs.
  if (there && !there.isFile()) throw new UsageError(`--html "${file}": not a regular file`);
  const parent = dirname(resolve(file));
  if (!statSync(parent, { throwIfNoEntry: false })?.isDirectory())
    throw new UsageError(`--html "${file}": there is no directory ${parent}`);
}

/** Writes the report whole or not at all. @returns what to tell the user */
export async function writeHtml(file: string, report: LabReport, bounds: Bounds): Promise<string> {
  const html = await reportHtml(await reportModel(report, bounds));
  const path = resolve(file);
  const draft = join(dirname(path), `.${basename(path)}.${process.pid}`);
  try {
    writeFileSync(draft, html);
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw new CommandError(`--html: ${error instanceof Error ? error.message : String(error)}`);
  }
  return `report: ${pathToFileURL(path).href}`;
}
