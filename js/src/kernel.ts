/** The module that the kernel sends: see `kit.ts`. */
import { Asking } from "./asking";
import { demand } from "./demand";
import { figure } from "./figure";
import type { Kit, Shared } from "./kit";
import { hideButton, hideSink, lensControls, toggleKey, toggleWords } from "./lenscontrols";
import { liveBox } from "./livebox";
import { detail } from "./panels/detail";
import { drawStrips, stripAt, stripWords } from "./panels/strips";
import { share } from "./sharedsignals";

export default (shared: Shared): Kit => {
  share(shared);
  return {
    ...{ Asking, demand, detail, figure, liveBox, drawStrips, stripAt, stripWords },
    ...{ hideButton, hideSink, lensControls, toggleKey, toggleWords },
  };
};
