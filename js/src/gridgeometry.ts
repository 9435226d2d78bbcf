/** Where the thumbnails of the head grid are. */
import type { HeadIndex } from "./state";

export interface GridGeometry {
  layers: number;
  heads: number;
  left: number;
  top: number;
  /** One thumbnail, and one thumbnail with its gap. */
  width: number;
  height: number;
  pitchX: number;
  pitchY: number;
  totalWidth: number;
  totalHeight: number;
}

const LEFT = 24;
const TOP = 20;
const GAP = 4;
const LEAST = 14;
const MOST = 84;

/** `aspect` is keys / queries; very long shapes are drawn at 4 : 1, or a thumbnail would be a hairline. */
export function gridGeometry(
  layers: number,
  heads: number,
  aspect: number,
  room: number,
  high: number,
): GridGeometry {
  const ratio = Math.max(0.25, Math.min(4, aspect));
  const gap = room / heads < 24 ? 2 : GAP;
  const fit = Math.floor((room - LEFT - 3) / heads) - gap;
  // A few heads do not need the whole panel: the grid stays as high as its neighbours.
  const fitHigh = Math.floor(((high - TOP - 4) / layers - gap) * ratio);
  const width = Math.max(LEAST, Math.min(fit, MOST, Math.max(fitHigh, 24)));
  const height = Math.max(6, Math.round(width / ratio));
  const [pitchX, pitchY] = [width + gap, height + gap];
  const totalWidth = LEFT + heads * pitchX + 2;
  return {
    layers,
    heads,
    left: LEFT,
    top: TOP,
    width,
    height,
    pitchX,
    pitchY,
    totalWidth,
    totalHeight: TOP + layers * pitchY + 2,
  };
}

export function headAt(g: GridGeometry, x: number, y: number): HeadIndex | null {
  const head = Math.floor((x - g.left) / g.pitchX);
  const layer = Math.floor((y - g.top) / g.pitchY);
  return head >= 0 && layer >= 0 && head < g.heads && layer < g.layers ? { layer, head } : null;
}

/** The heads inside a scrolled window, nearest to `centre` first. */
export function visibleHeads(
  g: GridGeometry,
  left: number,
  top: number,
  width: number,
  height: number,
  centre: HeadIndex,
): HeadIndex[] {
  const found: HeadIndex[] = [];
  const lastLayer = Math.min(g.layers - 1, Math.floor((top + height - g.top) / g.pitchY));
  const lastHead = Math.min(g.heads - 1, Math.floor((left + width - g.left) / g.pitchX));
  for (let layer = Math.max(0, Math.floor(top / g.pitchY)); layer <= lastLayer; layer++)
    for (let head = Math.max(0, Math.floor(left / g.pitchX)); head <= lastHead; head++)
      found.push({ layer, head });
  const far = (i: HeadIndex) => Math.abs(i.layer - centre.layer) + Math.abs(i.head - centre.head);
  return found.sort((a, b) => far(a) - far(b));
}
