/** In tests the kit is there from the start: what fetches it has tests of its own. */
import kernel from "../src/kernel";
import { kit } from "../src/kit";
import * as signals from "../src/signals";

kit.value = kernel(signals);
