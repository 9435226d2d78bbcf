// Builds the one script of the widget; with --watch again on every change; with --dev-page the page of js/dev.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import esbuild from "esbuild";
import { minify } from "terser";
import { selfInflating } from "./packing.mjs";

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
 * The bundle is stored once per widget in every saved notebook, so terser shortens what esbuild leaves, and the module
 * travels packed. Hosts import the module from a blob anyway, so that no rule of theirs is new here.
 */
const packed = {
  name: "packed",
  setup(build) {
    build.onEnd(async ({ outputFiles }) => {
      for (const { path, text } of outputFiles ?? []) {
        const { code } = await minify(text, {
          module: true,
          ecma: 2022,
          compress: { passes: 3, unsafe_arrows: true, unsafe_methods: true },
        });
        const module = await selfInflating(code);
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, module);
        console.log(`minified ${code.length} bytes, stored ${module.length}`);
      }
    });
  },
};

const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !devPage,
  charset: "utf8",
  legalComments: "none",
  logLevel: "info",
  plugins: devPage ? [cssAsText] : [cssAsText, packed],
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
        write: false,
      }),
};

if (watch) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
}
