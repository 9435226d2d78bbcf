/** Where the heads of the grid are: a matrix of layers and heads, or a flow in an order of its own. */
import type { HeadIndex } from "./state";

export interface GridGeometry {
  /** Places in a row, and places in all; they are counted row by row. */
  columns: number;
  count: number;
  /** The heads in the order they flow, each with its name above it; null: a matrix. */
  flow: readonly HeadIndex[] | null;
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

export interface GridOptions {
  flow?: readonly HeadIndex[] | null;
  /** Marks for groups of heads above their numbers, and for windows beside those of layers. */
  groups?: boolean;
  windows?: boolean;
}

const LEFT = 24;
const TOP = 20;
const GAP = 4;
const LEAST = 14;
const MOST = 84;
/** The height of a head's name in the flow, and the least width that it fits in. */
const NAME = 13;
const LEAST_NAMED = 32;
/** What a scroll bar may take. */
const BAR = 16;
const WINDOW_MARK = 10;
const GROUP_MARK = 7;

/** `aspect` is keys / queries; very long shapes are drawn at 4 : 1, or a thumbnail would be a hairline. */
export function gridGeometry(
  layers: number,
  heads: number,
  aspect: number,
  room: number,
  high: number,
  { flow = null, groups, windows }: GridOptions = {},
): GridGeometry {
  const ratio = Math.max(0.25, Math.min(4, aspect));
  const sized = (width: number, gap: number, columns: number, count: number, left: number, top: number) => {
    const height = Math.max(6, Math.round(width / ratio));
    const [pitchX, pitchY] = [width + gap, height + gap + (flow ? NAME : 0)];
    const totalWidth = left + columns * pitchX + 2;
    const totalHeight = top + Math.ceil(count / columns) * pitchY + 2;
    return { columns, count, flow, left, top, width, height, pitchX, pitchY, totalWidth, totalHeight };
  };
  if (flow) {
    // The largest pictures of which all are in sight, or the smallest that still have room for a name.
    const widthOf = (columns: number) => Math.floor((room - BAR) / columns) - GAP;
    for (let columns = 1; ; columns++) {
      const g = sized(Math.min(MOST, widthOf(columns)), GAP, columns, flow.length, 2, NAME + 2);
      if (g.totalHeight <= high || widthOf(columns + 1) < LEAST_NAMED) return g;
    }
  }
  const [left, top] = [LEFT + (windows ? WINDOW_MARK : 0), TOP + (groups ? GROUP_MARK : 0)];
  const gap = room / heads < 24 ? 2 : GAP;
  const fit = Math.floor((room - left - 3) / heads) - gap;
  // A few heads do not need the whole panel: the grid stays as high as its neighbours.
  const fitHigh = Math.floor(((high - top - 4) / layers - gap) * ratio);
  const width = Math.max(LEAST, Math.min(fit, MOST, Math.max(fitHigh, 24)));
  return sized(width, gap, heads, layers * heads, left, top);
}

export function headOf({ flow, columns }: GridGeometry, place: number): HeadIndex {
  return flow ? flow[place]! : { layer: Math.floor(place / columns), head: place % columns };
}

/** Where a head stands in the order; -1 where it has been left out. */
export function placeOf({ flow, columns }: GridGeometry, { layer, head }: HeadIndex): number {
  return flow ? flow.findIndex((each) => each.layer === layer && each.head === head) : layer * columns + head;
}

/** The upper left corner of the thumbnail at a place, less what is scrolled away. */
export function cornerOf(
  g: GridGeometry,
  place: number,
  scrolled = { x: 0, y: 0 },
): { x: number; y: number } {
  return {
    x: g.left + (place % g.columns) * g.pitchX - scrolled.x,
    y: g.top + Math.floor(place / g.columns) * g.pitchY - scrolled.y,
  };
}

export function headAt(g: GridGeometry, x: number, y: number): HeadIndex | null {
  const column = Math.floor((x - g.left) / g.pitchX);
  const row = Math.floor((y - g.top + (g.flow ? NAME : 0)) / g.pitchY);
  const place = row * g.columns + column;
  return column >= 0 && row >= 0 && column < g.columns && place < g.count ? headOf(g, place) : null;
}

/** The place one arrow away: in a matrix it stays in its row and column, in a flow right goes on in the next row. */
export function placeBeside(g: GridGeometry, from: number, down: number, right: number): number {
  const next = from + right + down * g.columns;
  const away = !g.flow && right && Math.floor(next / g.columns) !== Math.floor(from / g.columns);
  return from < 0 ? 0 : next < 0 || next >= g.count || away ? from : next;
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
  const places: number[] = [];
  const lastRow = Math.floor((top + height - g.top + (g.flow ? NAME : 0)) / g.pitchY);
  const lastColumn = Math.min(g.columns - 1, Math.floor((left + width - g.left) / g.pitchX));
  for (let row = Math.max(0, Math.floor(top / g.pitchY)); row <= lastRow; row++)
    for (let column = Math.max(0, Math.floor(left / g.pitchX)); column <= lastColumn; column++)
      if (row * g.columns + column < g.count) places.push(row * g.columns + column);
  const eye = cornerOf(g, Math.max(0, placeOf(g, centre)));
  const far = (place: number) => {
    const { x, y } = cornerOf(g, place);
    return Math.abs(x - eye.x) / g.pitchX + Math.abs(y - eye.y) / g.pitchY;
  };
  return places.sort((a, b) => far(a) - far(b)).map((place) => headOf(g, place));
}
