// Builds the one script of the widget; with --watch again on every change; with --dev-page the page of js/dev.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { deflateRawSync } from "node:zlib";
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
 * The bundle is stored once per widget in every saved notebook, so it travels deflated: a module of a few lines that
 * inflates itself and imports the rest. Hosts import the module from a blob anyway, so that no rule of theirs is new here.
 */
const selfInflating = {
  name: "self-inflating",
  setup(build) {
    build.onEnd(async ({ outputFiles }) => {
      for (const { path, contents } of outputFiles ?? []) {
        const body = deflateRawSync(contents, { level: 9 }).toString("base64");
        await mkdir(dirname(path), { recursive: true });
        await writeFile(
          path,
          LOADER.replace("BODY", () => body),
        );
      }
    });
  },
};

const LOADER = `// attnwidget's front end, deflated; its source is in js/src of the project.
const body = Uint8Array.from(atob("BODY"), (c) => c.charCodeAt(0));
const code = new Blob([body]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
const url = URL.createObjectURL(new Blob([await new Response(code).text()], { type: "text/javascript" }));
const { default: widget } = await import(url);
URL.revokeObjectURL(url);
export default widget;
`;

const options = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !devPage,
  charset: "utf8",
  legalComments: "none",
  logLevel: "info",
  plugins: devPage ? [cssAsText] : [cssAsText, selfInflating],
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
