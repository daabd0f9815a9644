// Writes a graph as SVG: node graph.mjs DIRECTORY_WITH_NODE_MODULES FILE.dot
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2);
const { instance } = await import(pathToFileURL(createRequire(folder + "/").resolve("@viz-js/viz")));
const options = { graphAttributes: { rankdir: "LR", bgcolor: "white", fontname: "sans-serif" }, nodeAttributes: { fontname: "sans-serif", fontsize: 12, margin: "0.2,0.05" } };
const viz = await instance();
process.stdout.write(viz.renderString(readFileSync(file, "utf-8"), { format: "svg", ...options }));
