// The bundle is stored once per widget in every saved notebook, so its size is a promise.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const LIMIT = 60_000;
const path = "attnwidget/widget/static/widget.js";
const bundle = await readFile(path);
console.log(`${path}: ${bundle.length} bytes, ${gzipSync(bundle).length} gzipped, limit ${LIMIT}`);
if (bundle.length > LIMIT) {
  console.error(`the bundle is ${bundle.length - LIMIT} bytes over its limit: make it smaller`);
  process.exit(1);
}
if (/<\/script/i.test(bundle.toString())) {
  console.error("the bundle contains '</script': pages that inline it would break");
  process.exit(1);
}
