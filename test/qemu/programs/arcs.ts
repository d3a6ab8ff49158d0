/** In the guest: the matrix of a device of its kernel's VFIO, as JSON. */

import { openKernelDevice } from "@vfiokit/user/kernel";
import { arcMatrix } from "../arcs.js";

using device = openKernelDevice(process.argv[2]!);
process.stdout.write(JSON.stringify(await arcMatrix(device)));
