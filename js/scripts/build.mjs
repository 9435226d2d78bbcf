// Builds the script of the widget, and the module that its kernel sends; with --watch again on every change; with --dev-page the page of js/dev.
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, resolve } from "node:path";
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

/** What `code` says, in fewer bytes. */
async function smaller(code) {
  const compress = { passes: 3, unsafe_arrows: true, unsafe_methods: true };
  return (await minify(code, { module: true, ecma: 2022, compress })).code;
}

/**
 * The bundle is stored once per widget in every saved notebook, so terser shortens what esbuild leaves, and the module
 * travels packed. Hosts import the module from a blob anyway, so that no rule of theirs is new here.
 */
const packed = {
  name: "packed",
  setup(build) {
    build.onEnd(async ({ outputFiles }) => {
      for (const { path, text } of outputFiles ?? []) {
        const code = await smaller(text);
        const module = await selfInflating(code);
        await mkdir(dirname(path), { recursive: true });
        await writeFile(path, module);
        console.log(`minified ${code.length} bytes, stored ${module.length}`);
      }
    });
  },
};

/** In the module that the kernel sends, the signals are those of the page. */
const sharedSignals = {
  name: "shared-signals",
  setup(build) {
    build.onResolve({ filter: /\/signals$/ }, () => ({ path: resolve("js/src/sharedsignals.ts") }));
  },
};

const STATIC = "attnwidget/widget/static";
const common = {
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: !devPage,
  charset: "utf8",
  legalComments: "none",
  logLevel: "info",
};

/** The module that the kernel sends. */
async function kernelModule() {
  const { outputFiles } = await esbuild.build({
    ...common,
    entryPoints: ["js/src/kernel.ts"],
    plugins: [cssAsText, sharedSignals],
    write: false,
  });
  const code = await smaller(outputFiles[0].text);
  // Its signals are there once it is called: what makes one earlier fails here, and not in a page.
  await import(`data:text/javascript,${encodeURIComponent(code)}`);
  return selfInflating(code);
}

/** Written anew with every build of the widget; the kernel of the dev page has it as a string. */
const withKernelModule = {
  name: "kernel-module",
  setup(build) {
    build.onStart(async () => {
      await mkdir(STATIC, { recursive: true });
      await writeFile(`${STATIC}/kernel.js`, await kernelModule());
    });
    build.onLoad({ filter: /static\/kernel\.js$/ }, async ({ path }) => ({
      contents: await readFile(path, "utf8"),
      loader: "text",
    }));
  },
};

const options = {
  ...common,
  plugins: devPage ? [cssAsText, withKernelModule] : [cssAsText, withKernelModule, packed],
  ...(devPage
    ? {
        entryPoints: ["js/dev/main.ts", "js/dev/index.html"],
        outdir: "js/dev/dist",
        loader: { ".html": "copy" },
        sourcemap: "inline",
      }
    : {
        entryPoints: ["js/src/index.ts"],
        outfile: `${STATIC}/widget.js`,
        write: false,
      }),
};

if (watch) {
  const context = await esbuild.context(options);
  await context.watch();
} else {
  await esbuild.build(options);
}
