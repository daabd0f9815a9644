"use strict";
/* The data: tasks are [name, outcome, why, joined at, expected, attempts, lacks], where `lacks` is there if attempts
   lacked tokens: for each [seconds before its start, their names], or []. An attempt is
   [start, duration, pid, ppid, target, daemon, end, CPU, memory, threads, orphans killed, left running, until]:
   `until` is when its end was recorded, if that is earlier than its start and its duration say.
   Of a run on several hosts, `places` has for each task the numbers of the hosts of its attempts in `hosts`.
   Times are in seconds from the start of the run. All texts are data, and shown by textContent. */
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const START = 0, DURATION = 1, PID = 2, PPID = 3, TARGET = 4, DAEMON = 5, END = 6, CPU = 7, MEMORY = 8, THREADS = 9, UNTIL = 12;

function element(name, text, kind) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function seconds(value) {
  if (value === null || value === undefined) return "-";
  if (value < 0) return "-" + seconds(-value);
  if (value < 10) return value.toFixed(2) + "s";
  if (value < 60) return value.toFixed(1) + "s";
  const whole = Math.floor(value), minutes = Math.floor(whole / 60);
  const two = (number) => String(number).padStart(2, "0");
  return minutes < 60 ? minutes + "m" + two(whole % 60) + "s" : Math.floor(minutes / 60) + "h" + two(minutes % 60) + "m";
}

function size(value) {
  if (value === null || value === undefined) return "-";
  const units = ["B", "kB", "MB", "GB"];
  let unit = 0;
  while (value >= 1000 && unit < 3) { value /= 1000; unit += 1; }
  return (value >= 10 || unit === 0 ? value.toFixed(0) : value.toFixed(1)) + units[unit];
}

const outcomeOf = (task) => data.outcomes[task[1]];
const classOf = (task) => "o-" + outcomeOf(task).replace(" ", "-");
const lastOf = (task) => task[5][task[5].length - 1] || [];
const lackOf = (task, number) => task[6] && task[6][number] || [];
const endOf = (end) => end === undefined || end === null ? "" : typeof end === "number" ? "exit " + end : end;

/* ---- the table */

const COLUMNS = [
  [(task) => task[0], null],
  [(task) => task[1], null],
  [(task) => task[5].length ? task[5][0][START] : null, seconds],
  [(task) => lastOf(task)[DURATION], seconds],
  [(task) => task[4], seconds],
  [(task) => lastOf(task)[CPU], seconds],
  [(task) => lastOf(task)[MEMORY], size],
  [(task) => task[5].length, String],
  [(task) => lastOf(task)[PID], (value) => value === undefined ? "-" : String(value)],
  [(task) => lastOf(task)[PPID], (value) => value === undefined ? "-" : String(value)],
];
const places = data.hosts ? new Map(data.tasks.map((task, number) => [task, data.places[number]])) : null;
const hostOf = (task, number) => data.hosts[places.get(task)[number]];
if (data.hosts) COLUMNS.push([(task) => hostOf(task, task[5].length - 1) || "-", null]);
const ROWS = 100;
const view = { page: 0, column: -1, down: false, found: [] };

function matches(task, outcome, words) {
  if (outcome && outcomeOf(task) !== outcome) return false;
  return words.every((word) => (task[0] + " " + outcomeOf(task) + " " + task[2]).toLowerCase().includes(word));
}

function select() {
  const outcome = document.querySelector("input[name=outcome]:checked").value;
  const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
  view.found = data.tasks.filter((task) => matches(task, outcome, words));
  if (view.column >= 0) {
    const key = COLUMNS[view.column][0], way = view.down ? -1 : 1;
    const names = new Intl.Collator(undefined, { numeric: true });
    view.found.sort((one, other) => {
      const a = key(one), b = key(other);
      if (typeof a === "string") return way * names.compare(a, b);
      /* What is unknown is last, whichever way. */
      if (a === null || a === undefined) return b === null || b === undefined ? 0 : 1;
      return b === null || b === undefined ? -1 : way * (a - b);
    });
  }
  view.page = 0;
  showPage();
}

function showPage() {
  const body = byId("table").tBodies[0], pages = Math.max(1, Math.ceil(view.found.length / ROWS));
  body.replaceChildren(...view.found.slice(view.page * ROWS, (view.page + 1) * ROWS).map(rowOf));
  byId("found").textContent = view.found.length + " of " + data.tasks.length + (data.tasks.length === 1 ? " task" : " tasks");
  byId("page").textContent = "Page " + (view.page + 1) + " of " + pages + ", of " + ROWS + " tasks each";
  byId("previous").disabled = view.page === 0;
  byId("next").disabled = view.page === pages - 1;
  byId("pages").hidden = pages === 1;
}

function rowOf(task) {
  const row = element("tr", undefined, classOf(task)), name = element("th"), why = element("td");
  name.scope = "row";
  const button = element("button", task[0], "link");
  button.type = "button";
  button.setAttribute("aria-expanded", "false");
  button.addEventListener("click", () => toggle(row, button, task));
  name.append(button);
  why.append(element("span", outcomeOf(task), "badge " + classOf(task)), " " + task[2]);
  row.append(name, why);
  for (const [key, format] of COLUMNS.slice(2)) row.append(format ? element("td", format(key(task)), "number") : element("td", key(task)));
  return row;
}

function toggle(row, button, task) {
  const open = button.getAttribute("aria-expanded") === "true";
  button.setAttribute("aria-expanded", String(!open));
  if (open) return row.nextSibling.remove();
  const details = element("tr", undefined, "details"), cell = element("td"), list = element("ul");
  cell.colSpan = COLUMNS.length;
  task[5].forEach((attempt, number) => list.append(element("li", sentence(task, attempt, number))));
  if (!task[5].length) list.append(element("li", "It had no process."));
  if (task[3] !== null) list.append(element("li", "joined at " + seconds(task[3])));
  cell.append(list);
  details.append(cell);
  row.after(details);
}

function sentence(task, attempt, number) {
  const parts = ["attempt " + (number + 1) + ": " + data.targets[attempt[TARGET]], "pid " + attempt[PID] + (data.hosts ? " on " + hostOf(task, number) : "")];
  parts.push("started at " + seconds(attempt[START]), "took " + seconds(attempt[DURATION]));
  if (attempt.length > END) parts.push(endOf(attempt[END]), seconds(attempt[CPU]) + " CPU", size(attempt[MEMORY]) + " memory");
  if (attempt[THREADS]) parts.push(attempt[THREADS] + (attempt[THREADS] === 1 ? " thread" : " threads"));
  const lack = lackOf(task, number);
  if (lack.length) parts.push("waited " + seconds(lack[0]) + " for tokens (" + lack[1] + ")");
  if (attempt[10]) parts.push("orphans killed: " + attempt[10]);
  if (attempt[11]) parts.push("left running: " + attempt[11]);
  return parts.join(", ");
}

function sortBy(column) {
  view.down = view.column === column ? !view.down : column > 1;
  view.column = column;
  byId("table").querySelectorAll("thead th").forEach((head, number) => {
    if (number === column) head.setAttribute("aria-sort", view.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    head.firstChild.textContent = head.dataset.name + (number === column ? (view.down ? " ↓" : " ↑") : "");
  });
  select();
}

function startTable() {
  byId("table").querySelectorAll("thead th").forEach((head, number) => {
    const button = element("button", head.textContent);
    button.type = "button";
    head.dataset.name = head.textContent;
    button.addEventListener("click", () => sortBy(number));
    head.replaceChildren(button);
  });
  byId("search").hidden = false;
  if (byId("static-note")) byId("static-note").hidden = true;
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", select);
  const turn = (by) => { view.page += by; showPage(); byId("tasks").scrollIntoView(); };
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  select();
}

startTable();
/* The end of a log says most. */
document.querySelectorAll("pre").forEach((text) => { text.scrollTop = text.scrollHeight; });
