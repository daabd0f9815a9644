/* ---- the timeline: lanes are slots, a bar is an attempt, drawn on a canvas by what is in sight */

const LANE = 20, AXIS = 24, MAX_CANVAS = 8000, BAR_TEXT = 44, ROUNDING = 0.0011;
const NAMES = ["succeeded", "failed", "timed", "stopped", "skipped", "cancelled", "unknown", "running", "skipped", "skipped"];
const chart = { lanes: [], from: 0, to: 1, end: 1, height: LANE, undated: 0 };

/* A small binary heap: 100,000 attempts have to find the lowest free lane. */
function heap(before) {
  const items = [];
  const swap = (a, b) => { [items[a], items[b]] = [items[b], items[a]]; };
  return {
    get first() { return items[0]; },
    push(item) {
      let at = items.push(item) - 1;
      while (at > 0 && before(items[at], items[(at - 1) >> 1])) { swap(at, (at - 1) >> 1); at = (at - 1) >> 1; }
    },
    pop() {
      const first = items[0], last = items.pop();
      if (items.length) {
        items[0] = last;
        for (let at = 0; ;) {
          const left = 2 * at + 1, right = left + 1;
          let next = at;
          if (left < items.length && before(items[left], items[next])) next = left;
          if (right < items.length && before(items[right], items[next])) next = right;
          if (next === at) break;
          swap(at, next);
          at = next;
        }
      }
      return first;
    },
  };
}

function allBars() {
  const bars = [];
  for (const task of data.tasks) {
    let since = 0;
    task[5].forEach((attempt, number) => {
      if (attempt[START] === null) { chart.undated += 1; return; }
      /* One whose end is unknown ran until the last event, as far as is known. */
      const start = Math.max(0, attempt[START]), last = attempt[DURATION] === null ? data.duration || 0 : start + attempt[DURATION];
      /* A sum of two numbers with three decimals may have more of them. */
      const end = Math.max(start, attempt[UNTIL] || Math.round(last * 1000) / 1000);
      const isLast = number === task[5].length - 1;
      bars.push({ task, attempt, number, start, end, since, free: 0, bad: !isLast || task[1] === 1 || task[1] === 2 || task[1] === 6,
        kind: isLast ? NAMES[task[1]] : "failed", path: false });
      since = end;
    });
  }
  return bars.sort((one, other) => one.start - other.start);
}

/* The lowest lane that is free takes an attempt: services have lanes of their own, as they take no slot, and so
   has each host.
   Starts and durations are rounded, so what follows in a slot may seem to begin before its end, by a ROUNDING. */
function intoLanes(bars, lanes, host) {
  const busy = heap((one, other) => one.until < other.until), free = heap((one, other) => one < other);
  const own = [];
  for (const bar of bars) {
    while (busy.first && busy.first.until <= bar.start + ROUNDING) free.push(busy.pop().lane);
    const lane = free.first === undefined ? own.push([]) - 1 : free.pop();
    bar.free = own[lane].length ? own[lane][own[lane].length - 1].end : 0;
    bar.start = Math.max(bar.start, bar.free);
    bar.end = Math.max(bar.start, bar.end);
    own[lane].push(bar);
    busy.push({ until: bar.end, lane });
  }
  own.forEach((found, number) => lanes.push({ name: host + (found[0].attempt[DAEMON] ? "service" : (host ? "" : "slot ") + (number + 1)), bars: found }));
}

/* The chain of attempts that the end of the run waited for: back from the last one, each time to what ended
   last before it: a task that it depended on, its own attempt before, or what had its slot, if none was free. */
function markPath(bars) {
  const slots = chart.lanes.filter((lane) => !lane.bars[0].attempt[DAEMON]).length;
  const last = new Map(), before = new Map();
  for (const bar of bars) if (bar.number === bar.task[5].length - 1) last.set(bar.task, bar);
  for (const lane of chart.lanes) lane.bars.forEach((bar, at) => before.set(bar, lane.bars[at - 1]));
  const own = new Map(bars.map((bar) => [bar.attempt, bar]));
  const numbers = new Map(data.tasks.map((task, number) => [task, number]));
  let bar = bars.filter((one) => !one.attempt[DAEMON]).reduce((found, one) => !found || one.end > found.end ? one : found, null);
  while (bar && !bar.path) {
    bar.path = true;
    const earlier = bar.number ? [own.get(bar.task[5][bar.number - 1])] : data.needs[numbers.get(bar.task)].map((need) => last.get(data.tasks[need]));
    const left = before.get(bar), lane = left && valueBefore(curves.running, left.end) >= slots ? left : null, start = bar.start + 0.02;
    let found = null;
    for (const one of [...earlier, lane]) if (one && one.end <= start && (!found || one.end > found.end + (one === lane ? 0.02 : 0))) found = one;
    bar = found;
  }
}

function colours() {
  const style = getComputedStyle(document.documentElement), found = {};
  for (const name of ["text", "soft", "line", "back", "wait", "lack", "path", "running", ...NAMES]) found[name] = style.getPropertyValue("--" + name).trim();
  return found;
}

function prepare(canvas, height) {
  const width = canvas.parentElement.clientWidth, ratio = Math.min(window.devicePixelRatio || 1, MAX_CANVAS / height);
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = height + "px";
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.font = "11px system-ui, sans-serif";
  pen.textBaseline = "middle";
  return { pen, width };
}

const MARGIN = 64;
const toX = (time, width) => MARGIN + (time - chart.from) / (chart.to - chart.from) * (width - MARGIN - 8);
const toTime = (x, width) => chart.from + (x - MARGIN) / (width - MARGIN - 8) * (chart.to - chart.from);

function drawAxis(pen, width, height, ink) {
  const rough = (chart.to - chart.from) / Math.max(2, width / 110), power = 10 ** Math.floor(Math.log10(rough));
  const units = rough < 10 ? [1, 2, 5, 10].map((factor) => factor * power) : [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];
  const unit = units.find((one) => one >= rough) || Math.ceil(rough / 86400) * 86400;
  pen.strokeStyle = ink.line;
  pen.fillStyle = ink.soft;
  pen.textAlign = "center";
  for (let at = Math.ceil(chart.from / unit) * unit; at <= chart.to; at += unit) {
    const x = toX(at, width);
    pen.beginPath();
    pen.moveTo(x, AXIS - 4);
    pen.lineTo(x, height);
    pen.stroke();
    pen.fillText(at >= 60 ? seconds(at) : Number(at.toPrecision(6)) + "s", Math.min(x, width - 16), 10);
  }
}

/* The bars of a lane that are in sight: its bars are in order and do not overlap. */
function inSight(bars) {
  let low = 0, high = bars.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (bars[middle].end < chart.from) low = middle + 1;
    else high = middle;
  }
  return low;
}

function drawTimeline() {
  const lane = Math.max(3, Math.min(LANE, (MAX_CANVAS - AXIS) / Math.max(1, chart.lanes.length)));
  chart.height = lane;
  const height = AXIS + lane * chart.lanes.length + 2, ink = colours();
  const { pen, width } = prepare(byId("bars"), height);
  drawAxis(pen, width, height, ink);
  chart.lanes.forEach((found, number) => {
    const top = AXIS + number * lane;
    if (lane >= 10) {
      pen.fillStyle = ink.soft;
      pen.textAlign = "left";
      pen.fillText(found.name, 4, top + lane / 2, MARGIN - 8);
    }
    drawLane(pen, found.bars, top, lane, width, ink);
  });
}

function drawLane(pen, bars, top, lane, width, ink) {
  const failed = [], paths = [];
  let drawn = -1;
  for (let at = inSight(bars); at < bars.length && bars[at].start <= chart.to; at += 1) {
    const bar = bars[at];
    const left = Math.max(MARGIN, toX(bar.start, width)), right = Math.min(width - 8, Math.max(left + 1, toX(bar.end, width)));
    const waiting = Math.max(MARGIN, toX(Math.max(bar.since, bar.free), width));
    if (left - waiting > 1) {
      pen.fillStyle = ink.wait;
      pen.fillRect(waiting, top + lane / 2 - 1.5, left - waiting - 1, 3);
      const lack = lackOf(bar.task, bar.number), lacking = lack.length ? Math.max(waiting, toX(bar.start - lack[0], width)) : left;
      pen.fillStyle = ink.lack;
      if (left - lacking > 1) pen.fillRect(lacking, top + lane / 2 - 2.5, left - lacking - 1, 5);
    }
    /* Bars that share a pixel are one; what failed is drawn over the others, wide enough to be seen. */
    if (right - left <= 1.5) {
      const pixel = Math.floor(left);
      if (bar.bad) failed.push([pixel, bar.kind]);
      if (bar.path) paths.push(pixel);
      if (pixel === drawn) continue;
      drawn = pixel;
      pen.fillStyle = ink[bar.kind];
      pen.fillRect(pixel, top + 2, 1, lane - 4);
      continue;
    }
    pen.fillStyle = ink[bar.kind];
    pen.fillRect(left, top + 2, right - left - 0.5, lane - 4);
    if (bar.path) {
      pen.fillStyle = ink.path;
      pen.fillRect(left, top + lane - 4, Math.max(1, right - left - 0.5), 3);
    }
    if (right - left > BAR_TEXT && lane >= 14) {
      pen.save();
      pen.beginPath();
      pen.rect(left, top, right - left - 4, lane);
      pen.clip();
      pen.fillStyle = ink.back;
      pen.textAlign = "left";
      pen.fillText(bar.task[0], left + 4, top + lane / 2 + 0.5);
      pen.restore();
    }
    const joined = bar.task[3];
    /* Between narrow bars there would be nothing but marks. */
    if (joined !== null && right - left > 6 && bar.number === bar.task[5].length - 1 && joined >= chart.from && joined <= chart.to) {
      const x = Math.min(width - 8, Math.max(right, toX(joined, width)));
      pen.fillStyle = ink.text;
      pen.fillRect(x - 0.5, top + 1, 1.5, lane - 2);
    }
  }
  pen.fillStyle = ink.path;
  for (const pixel of paths) pen.fillRect(pixel, top + lane - 4, 1, 3);
  for (const [pixel, kind] of failed) {
    pen.fillStyle = ink[kind];
    pen.fillRect(pixel - 1, top + 1, 3, lane - 2);
  }
}

function barAt(event) {
  const box = byId("bars").getBoundingClientRect(), time = toTime(event.clientX - box.left, box.width);
  const lane = chart.lanes[Math.floor((event.clientY - box.top - AXIS) / chart.height)];
  if (!lane || event.clientX - box.left < MARGIN) return null;
  /* Within two pixels of a bar counts as on it. */
  const near = 2 * (chart.to - chart.from) / box.width;
  let found = null;
  for (let at = inSight(lane.bars); at < lane.bars.length && lane.bars[at].start <= time + near; at += 1) {
    if (lane.bars[at].end >= time - near) found = lane.bars[at];
    if (lane.bars[at].start > chart.to) break;
  }
  return found;
}

function zoom(factor, middle = (chart.from + chart.to) / 2) {
  const span = Math.min(chart.end, Math.max(chart.end / 1e6, 0.001, (chart.to - chart.from) * factor));
  const share = (middle - chart.from) / (chart.to - chart.from);
  moveTo(middle - share * span, span);
}

function moveTo(from, span) {
  chart.from = Math.max(0, Math.min(chart.end - span, from));
  chart.to = chart.from + span;
  drawAll();
}

function drawAll() {
  drawTimeline();
  drawCharts();
}

function onKey(event) {
  const span = chart.to - chart.from;
  const keys = {
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => moveTo(0, chart.end),
    ArrowLeft: () => moveTo(chart.from - span / 5, span), ArrowRight: () => moveTo(chart.from + span / 5, span),
  };
  if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  keys[event.key]();
}

/* In words what the chart shows, for those who do not see it, and who have no time to look for it. */
function describe(bars) {
  const took = (bar) => bar.end - bar.start, text = (bar) => bar.task[0] + (bar.number ? ", attempt " + (bar.number + 1) : "");
  const path = bars.filter((bar) => bar.path);
  const names = path.length > 12 ? [...path.slice(0, 5), null, ...path.slice(-6)] : path;
  if (path.length) {
    byId("path-text").textContent = "Critical path: " + names.map((bar) => bar ? text(bar) : "… (" + (path.length - 11) + " more)").join(" → ")
      + ": " + seconds(path.reduce((sum, bar) => sum + took(bar), 0)) + " of " + seconds(chart.end) + ".";
  }
  const longest = bars.filter((bar) => !bar.attempt[DAEMON]).sort((one, other) => took(other) - took(one)).slice(0, 5);
  if (bars.length > 1 && longest.length) byId("longest-text").textContent = "Longest: " + longest.map((bar) => text(bar) + " " + seconds(took(bar))).join(", ") + ".";
  const lacking = bars.map((bar) => [bar, lackOf(bar.task, bar.number)]).filter((one) => one[1].length).sort((one, other) => other[1][0] - one[1][0]);
  if (lacking.length) byId("lacks-text").textContent = "Waited longest for tokens: "
    + lacking.slice(0, 5).map(([bar, lack]) => text(bar) + " " + seconds(lack[0]) + " (" + lack[1] + ")").join(", ") + ".";
}

function legend() {
  const kinds = [["succeeded", "succeeded"], ["failed", "failed"], ["timed", "timed out"], ["stopped", "stopped"], ["unknown", "unknown"], ["running", "running"]];
  const seen = new Set(chart.lanes.flatMap((lane) => lane.bars.map((bar) => bar.kind)));
  const entry = (name, text) => {
    const made = element("span"), swatch = element("span", undefined, "swatch");
    swatch.dataset.colour = name;
    swatch.style.background = "var(--" + name + ")";
    made.append(swatch, text);
    return made;
  };
  byId("legend").append(...kinds.filter(([name]) => seen.has(name)).map(([name, text]) => entry(name, text)),
    entry("wait", "waiting for dependencies, or its slot is free"),
    ...(data.tasks.some((task) => task[6]) ? [entry("lack", "waiting for tokens")] : []), element("span", "│ joined, after wide bars"));
  if (data.needs) {
    const made = element("span"), swatch = element("span", undefined, "swatch under");
    made.append(swatch, "critical path");
    byId("legend").append(made);
  }
  byId("legend").append(element("span", "A lane is a slot, a bar is an attempt; bars that share a pixel are drawn as one."));
  if (chart.undated) byId("legend").append(element("span", chart.undated + " attempts have no valid time, and no bar."));
}

function startTimeline() {
  const bars = allBars();
  byId("timeline-view").hidden = false;
  if (!bars.length) {
    byId("timeline-view").replaceChildren(element("p", "No task had a process.", "note"));
    return;
  }
  chart.end = Math.max(data.duration || 0, ...[bars.reduce((last, bar) => Math.max(last, bar.end), 0)]) || 0.001;
  chart.to = chart.end;
  for (const host of data.hosts ? [...data.hosts, undefined] : [""]) {
    const own = data.hosts ? bars.filter((bar) => hostOf(bar.task, bar.number) === host) : bars;
    const name = host === "" ? "" : (host || "other") + " ";
    intoLanes(own.filter((bar) => !bar.attempt[DAEMON]), chart.lanes, name);
    intoLanes(own.filter((bar) => bar.attempt[DAEMON]), chart.lanes, name);
  }
  startCharts(bars);
  if (data.needs) markPath(bars);
  describe(bars);
  legend();
  const canvas = byId("bars");
  byId("zoom-in").addEventListener("click", () => zoom(0.5));
  byId("zoom-out").addEventListener("click", () => zoom(2));
  byId("zoom-all").addEventListener("click", () => moveTo(0, chart.end));
  byId("lanes").addEventListener("keydown", onKey);
  canvas.addEventListener("mousemove", (event) => {
    const bar = barAt(event);
    byId("bar-text").textContent = bar ? bar.task[0] + ": " + outcomeOf(bar.task) + ". " + sentence(bar.task, bar.attempt, bar.number) : "Point at a bar to see its task.";
  });
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 0.8 : 1.25, toTime(event.clientX - box.left, box.width));
  }, { passive: false });
  new ResizeObserver(drawAll).observe(byId("lanes"));
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)", "print"]) window.matchMedia(query).addEventListener("change", drawAll);
  drawAll();
}
