/* ---- how many tasks ran, and how much memory they had, over time */

const CHART = 90;
const curves = { running: [], memory: [] };

/* The steps of a curve: the value from each time on. Starts and ends at one time are one step. */
function steps(bars, weight) {
  const changes = [];
  for (const bar of bars) changes.push([bar.start, weight(bar)], [bar.end, -weight(bar)]);
  changes.sort((one, other) => one[0] - other[0]);
  const found = [[0, 0]];
  let value = 0;
  for (const [time, change] of changes) {
    value += change;
    if (found[found.length - 1][0] === time) found[found.length - 1][1] = value;
    else found.push([time, value]);
  }
  return found;
}

/* The value of a curve right before a time. */
function valueBefore(curve, time) {
  let low = 0, high = curve.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve[middle][0] < time) low = middle + 1;
    else high = middle;
  }
  return low ? curve[low - 1][1] : 0;
}

function drawCurve(id, curve, format, colour) {
  const ink = colours(), { pen, width } = prepare(byId(id), CHART);
  const most = curve.reduce((found, step) => Math.max(found, step[1]), 0), bottom = CHART - 4, top = 12;
  pen.fillStyle = ink.soft;
  pen.textAlign = "left";
  pen.fillText(format(most), 4, top);
  pen.fillText(format(0), 4, bottom - 4);
  pen.fillStyle = ink[colour];
  if (!most) return;
  /* By pixel the most of its steps, so that a short peak is seen. */
  const columns = new Float64Array(Math.ceil(width) + 1);
  for (let at = 0; at < curve.length; at += 1) {
    const until = at + 1 < curve.length ? curve[at + 1][0] : chart.end;
    if (until < chart.from || curve[at][0] > chart.to) continue;
    const left = Math.max(MARGIN, Math.floor(toX(curve[at][0], width))), right = Math.min(width - 8, Math.ceil(toX(until, width)));
    for (let x = left; x < right; x += 1) columns[x] = Math.max(columns[x], curve[at][1]);
  }
  for (let x = MARGIN; x < width - 8; x += 1) {
    const height = columns[x] / most * (bottom - top);
    if (height) pen.fillRect(x, bottom - height, 1, height);
  }
}

function drawCharts() {
  drawCurve("running", curves.running, (value) => String(value), "running");
  drawCurve("memory", curves.memory, size, "stopped");
}

function startCharts(bars) {
  curves.running = steps(bars.filter((bar) => !bar.attempt[DAEMON]), () => 1);
  curves.memory = steps(bars, (bar) => bar.attempt[MEMORY] || 0);
  const most = (curve) => curve.reduce((found, step) => Math.max(found, step[1]), 0);
  const unknown = bars.filter((bar) => bar.attempt[MEMORY] === null || bar.attempt[MEMORY] === undefined).length;
  byId("running-text").textContent = "At most " + most(curves.running) + " at once, without services.";
  byId("memory-text").textContent = "At most " + size(most(curves.memory)) + ": the sum of the peaks of the attempts that ran at a time, which they need not have had at once."
    + (unknown ? " Without " + unknown + " attempts whose memory is unknown." : "");
  byId("running").setAttribute("aria-label", byId("running-text").textContent);
  byId("memory").setAttribute("aria-label", byId("memory-text").textContent);
}

startTimeline();
