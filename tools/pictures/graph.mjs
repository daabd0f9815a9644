// Writes a graph as SVG: node graph.mjs DIRECTORY_WITH_NODE_MODULES FILE.dot
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, file] = process.argv.slice(2);
const { instance } = await import(pathToFileURL(createRequire(folder + "/").resolve("@viz-js/viz")));
// Boxes with a background of their own, and lines that are seen on light and on dark pages.
const font = { fontname: "sans-serif" };
const box = { style: "filled", fillcolor: "#f6f8fa", color: "#8c959f", fontcolor: "#1f2328" };
const options = {
  graphAttributes: { ...font, rankdir: "LR", bgcolor: "transparent", fontcolor: "#8c959f" },
  nodeAttributes: { ...font, ...box, fontsize: 12, margin: "0.2,0.05" },
  edgeAttributes: { color: "#8c959f" },
};
const viz = await instance();
process.stdout.write(viz.renderString(readFileSync(file, "utf-8"), { format: "svg", ...options }));
