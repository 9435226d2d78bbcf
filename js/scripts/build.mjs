// Builds the one script of the widget; with --watch again on every change; with --dev-page the page of js/dev.
import { readFile } from "node:fs/promises";
import esbuild from "esbuild";

const watch = process.argv.includes("--watch");
const devPage = process.argv.includes("--dev-page");

/** The style sheet is adopted inside a shadow root, so it travels as a string, minified. */
const cssAsText = {
  name: "css-as-text",
  setup(build) {
    build.onLoad({ filter: /\.css$/ }, async ({ path }) => {
      const source = await readFile(path, "utf8");
      const { code } = await esbuild.transform(source, { loader: "css", minify: true });
      return { contents: code.trim(), loader: "text", watchFiles: [path] };
    });
  },
};

/**
 * Names of our own objects that no trait, message or browser knows. They are long because code is read; the bundle is
 * stored in every saved notebook, so there they are short, in quotes too (`"reveal" in panel`).
 */
const INTERNAL = [
  ...[
    "cells",
    "complete",
    "detached",
    "draftWindow",
    "entropy",
    "extent",
    "failed",
    "gaze",
    "inSight",
    "looked",
  ],
  ...["marginals", "missing", "overtaken", "pending", "phase", "placed", "progress", "receive", "received"],
  ...[
    "request",
    "sampled",
    "sight",
    "thumbnail",
    "visible",
    "wanted",
    "whole",
    "again",
    "dark",
    "here",
    "hover",
    "kind",
  ],
  ...[
    "later",
    "masked",
    "note",
    "onDispose",
    "options",
    "peek",
    "ramp",
    "range",
    "refresh",
    "shape",
    "total",
    "update",
  ],
  ...["wants", "weights"],
  ...[
    "canvasHeight",
    "canvasWidth",
    "colours",
    "columns",
    "context",
    "disposers",
    "dispose",
    "endHover",
    "hoverHead",
  ],
  ...[
    "hoverPair",
    "labels",
    "lockHead",
    "lockedHead",
    "onScreen",
    "panelHeight",
    "picture",
    "pitchX",
    "pitchY",
  ],
  ...["pooling", "problem", "reveal", "shown", "shownHead", "store", "totalHeight", "totalWidth"],
  ...["codes", "element", "exact", "frames", "locked", "painting", "pitch", "readers", "select", "source"],
  ...["sources", "visibleHeads", "visible", "cellX", "cellY", "geometry", "lookAll", "settle"],
  ...["across", "down", "pixels", "enclose", "inPlot", "cell", "ratio"],
];

const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !devPage,
  charset: "utf8",
  legalComments: "none",
  logLevel: "info",
  mangleProps: new RegExp(`^(${INTERNAL.join("|")})$`),
  mangleQuoted: true,
  plugins: [cssAsText],
  ...(devPage
    ? {
        entryPoints: ["js/dev/main.ts", "js/dev/index.html"],
        outdir: "js/dev/dist",
        loader: { ".html": "copy" },
        sourcemap: "inline",
      }
    : {
        entryPoints: ["js/src/index.ts"],
        outfile: "attnwidget/widget/static/widget.js",
      }),
};

if (watch) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
}
