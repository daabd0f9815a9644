// The order of search results, instead of Sphinx's own: words that a page is listed for and headings first,
// then the text of guides, then pages about mprun itself, then those that are written by programs, then Python objects.
const MPRUN_ITSELF = ["architecture", "speed"];

const rank = (page, kind) => {
  if (kind === "object") return 0;
  if (page.startsWith("generated/")) return 1;
  if (MPRUN_ITSELF.includes(page)) return 2;
  return { text: 3, title: 4, index: 4 }[kind];
};

var Scorer = {
  score: ([page, _title, _anchor, _description, score, _file, kind]) => 1000 * rank(page, kind) + score,

  // What `score` gets is of Sphinx's usual size.
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
