/** The module that the kernel sends: see `kit.ts`. */
import { Asking } from "./asking";
import { demand } from "./demand";
import { figure } from "./figure";
import { findField } from "./find";
import { createFinder } from "./finder";
import css from "./kernel.css";
import type { Kit, Shared } from "./kit";
import { hideButton, hideSink, lensControls, toggleKey, toggleWords } from "./lenscontrols";
import { liveBox } from "./livebox";
import { measureControl } from "./measurecontrol";
import { detail } from "./panels/detail";
import { drawCells, drawNames } from "./panels/gridcells";
import { gridTools } from "./panels/gridtools";
import { minimap } from "./panels/minimap";
import { output } from "./panels/output";
import { drawStrips, stripAt, stripWords } from "./panels/strips";
import { share } from "./sharedsignals";

export default (shared: Shared): Kit => {
  share(shared);
  return {
    ...{ Asking, demand, detail, output, figure, liveBox, drawStrips, stripAt, stripWords },
    ...{ css, createFinder, drawCells, drawNames, gridTools, minimap },
    ...{ findField, hideButton, hideSink, lensControls, measureControl, toggleKey, toggleWords },
  };
};
