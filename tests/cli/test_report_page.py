"""The report in a browser: it works by keyboard, in the dark, on a telephone, and without its script."""

import re
import signal
import sys
from pathlib import Path

import pytest
from support.browser import CHROMIUM, DRIVER, Browser
from support.records import read
from support.report_records import large_run
from support.runs import eventually, mprun, start, write

pytestmark = [
    pytest.mark.once,
    # The largest page takes a minute and more on a machine with much else to do.
    pytest.mark.timeout(300),
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromium-driver"),
]

WORK = """
    import sys
    import time

    def hi(seconds=0.05):
        time.sleep(seconds)

    def fail():
        print("</script><script>alert(1)</script>")
        raise ValueError("no <b>rows</b>")
    """
HOSTILE = "<img src=x onerror=alert(1)>"
JOB = f"""
    tasks:
      - {{name: a, target: "work:hi"}}
      - {{name: b, target: "work:hi", kwargs: {{seconds: 0.3}}, depends_on: [a]}}
      - {{name: "{HOSTILE}", target: "work:fail"}}
      - {{name: never, target: "work:hi", depends_on: ["{HOSTILE}"]}}
    """


def rows(browser):
    """The names in the table that are shown."""
    return browser.run(
        "[...document.querySelectorAll('#table tbody tr:not(.details)')]"
        ".filter((row) => row.offsetHeight).map((row) => row.querySelector('th').textContent)"
    )


def pick(browser, outcome):
    browser.run(f"document.querySelector('input[value={outcome}]').click()")


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("selenium", reason="needs selenium")
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    write(directory, work=WORK, job=JOB)
    assert mprun("job.yaml", "--report", "page.html", cwd=directory).code == 1
    return directory / "page.html"


def test_the_page_says_nothing_on_the_console_asks_for_nothing_and_runs_nothing_of_a_task(browser, page):
    browser.open(page)
    assert browser.errors() == []
    assert browser.run("performance.getEntriesByType('resource').length") == 0
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert rows(browser) == ["a", "b", HOSTILE, "never"]
    assert "alert(1)" in browser.run("document.querySelector('.failure pre').textContent")


def test_the_table_filters_searches_and_sorts(browser, page):
    browser.open(page)
    pick(browser, "failed")
    assert rows(browser) == [HOSTILE]
    pick(browser, "succeeded")
    assert rows(browser) == ["a", "b"]
    # Duration: the longest first, then the shortest.
    browser.run("document.querySelectorAll('thead button')[3].click()")
    assert rows(browser) == ["b", "a"]
    browser.run("document.querySelectorAll('thead button')[3].click()")
    assert rows(browser) == ["a", "b"]
    assert browser.run("document.querySelector('#table [aria-sort]').ariaSort") == "ascending"
    browser.run("document.querySelector('#f-all').click()")
    browser.run("document.querySelector('#words').focus()")
    browser.press("VALUEERROR")
    assert rows(browser) == [HOSTILE]
    assert browser.run("document.querySelector('#found').textContent") == "1 of 4 tasks"


def test_it_works_by_keyboard(browser, page):
    from selenium.webdriver.common.keys import Keys

    browser.open(page)
    browser.run("document.querySelector('#table tbody .link').focus()")
    browser.press(Keys.ENTER)
    assert "attempt 1: work:hi, pid " in browser.run("document.querySelector('.details').textContent")
    browser.press(Keys.ENTER)
    assert browser.run("document.querySelector('.details')") is None
    browser.run("document.querySelector('#lanes').focus()")
    browser.press("+")
    assert browser.run("(chart.to - chart.from) / chart.end") == pytest.approx(0.5)
    browser.press("0")
    assert browser.run("[chart.from, chart.to === chart.end]") == [0, True]


def test_no_two_attempts_are_in_one_slot_at_a_time(browser, page):
    browser.open(page)
    overlaps = "lane.bars.some((bar, at) => at && bar.start < lane.bars[at - 1].end)"
    assert browser.run(f"chart.lanes.filter((lane) => {overlaps}).length") == 0
    assert browser.run("chart.lanes.flatMap((lane) => lane.bars).length") == 3


def test_the_critical_path_is_the_chain_that_the_end_waited_for(browser, page):
    browser.open(page)
    path = "chart.lanes.flatMap((lane) => lane.bars).filter((bar) => bar.path).map((bar) => bar.task[0])"
    assert sorted(browser.run(path)) == ["a", "b"]
    assert "Critical path: a → b: " in browser.run("document.querySelector('#path-text').textContent")
    assert browser.run("document.querySelector('#longest-text').textContent").startswith("Longest: b ")


# Attempts of a run with two slots: when they started, and for how long they ran.
ROUNDED = """(() => {
    const of = (name, start, took) => [name, 0, "", null, null, [[start, took, 1, 1, 0, 0, 0, 0, 0, 1]]];
    data.tasks = [of("a", 1.035, 2.434), of("b", 0, 6.923), of("c", 3.469, 3.455)];
    data.tasks.push(of("d", 6.923, 2), of("e", 6.923, 3));
    data.needs = [[], [], [], [], []];
    chart.lanes = [];
    const bars = allBars();
    intoLanes(bars, chart.lanes);
    startCharts(bars);
    markPath(bars);
    const most = Math.max(...curves.running.map((step) => step[1]));
    return [chart.lanes.length, most, bars.filter((bar) => bar.path).map((bar) => bar.task[0])];
})()"""


def test_what_follows_in_a_slot_has_its_lane_though_times_are_rounded(browser, page):
    """1.035 + 2.434 is more than 3.469, in floating point: there was a third slot, and no critical path."""
    browser.open(page)
    assert browser.run(ROUNDED) == [2, 2, ["a", "c", "e"]]


# Of three attempts, the second to start comes after the first in slot 1.
THREE_BARS = """(() => {
    const attempt = () => [0, 1, 1, 1, 0, 0], task = (name) => [name, 0, "", null, null, [attempt()]];
    data.tasks = ["x", "y", "z"].map(task);
    data.needs = [[], [], []];
    const bars = data.tasks.map((task, number) => ({ task, attempt: task[5][0], number: 0, path: false,
        start: [0, 2, arguments[0]][number], end: [1, 4, 3][number] }));
    chart.lanes = [{ bars: [bars[0], bars[1]] }, { bars: [bars[2]] }];
    startCharts(bars);
    bars[1].start = arguments[1];
    markPath(bars);
    return bars.filter((bar) => bar.path).map((bar) => bar.task[0]);
})()"""


def test_a_slot_is_on_the_critical_path_only_if_no_other_was_free(browser, page):
    browser.open(page)
    # `z` has the second slot before `x` leaves the first, or later.
    assert browser.run(THREE_BARS, 0.5, 1) == ["x", "y"]
    assert browser.run(THREE_BARS, 1.5, 1) == ["y"]


def test_it_shows_who_waited_for_tokens_and_which_variables_were_set(browser, tmp_path):
    write(
        tmp_path,
        work=WORK,
        job="""
        resources: {db: 1}
        env: {STAGE: secretive}
        tasks:
          - {name: a, target: "work:hi", kwargs: {seconds: 0.3}, resources: {db: 1}}
          - {name: b, target: "work:hi", resources: {db: 1}, env: {KEY: x}}
        """,
    )
    assert mprun("job.yaml", "--report", "page.html", cwd=tmp_path).code == 0
    browser.open(tmp_path / "page.html")
    text = browser.run("document.querySelector('#lacks-text').textContent")
    assert re.fullmatch(r"Waited longest for tokens: b 0\.[3-9]\ds \(db\)\.", text)
    browser.run("document.querySelectorAll('#table tbody .link')[1].click()")
    assert "for tokens (db)" in browser.run("document.querySelector('.details').textContent")
    assert "waiting for tokens" in browser.run("document.querySelector('#legend').textContent")
    inputs = browser.run("document.querySelector('#inputs').innerText")
    assert re.search(r"STAGE\s+set for 2 tasks", inputs)
    assert re.search(r"KEY\s+set for 1 task\n", inputs)
    assert "secretive" not in (tmp_path / "page.html").read_text("utf-8")


def test_without_its_script_the_table_has_its_rows_and_filters_them(browser, page):
    # Its hash is another then: the policy forbids it.
    other = page.with_name("other.html")
    other.write_text(page.read_text("utf-8").replace('"use strict";', '"use strict"; ', 1), "utf-8")
    browser.open(other)
    (error,) = browser.errors()
    assert "Content Security Policy" in error
    assert rows(browser) == ["a", "b", HOSTILE, "never"]
    pick(browser, "skipped")
    assert rows(browser) == ["never"]
    assert browser.run("document.querySelector('#timeline-view').hidden") is True


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_it_is_dark_where_the_reader_is(browser, page, scheme, dark):
    browser.open(page, prefers_color_scheme=scheme)
    colour = browser.run("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, colour.removeprefix("rgb(").rstrip(")").split(","))) < 150) == dark


def test_paper_is_white(browser, page):
    browser.open(page).media("print", prefers_color_scheme="dark")
    assert browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("getComputedStyle(document.querySelector('#filter')).display") == "none"
    # The names are buttons, which open the details.
    assert browser.run("document.querySelector('#table tbody .link').offsetHeight") > 0
    assert browser.run("document.querySelector('.graph').getBoundingClientRect().right <= innerWidth") is True


def test_what_a_killed_mprun_left_running_has_a_bar_until_the_last_event(browser, tmp_path):
    write(
        tmp_path,
        work=WORK,
        job="""
        tasks:
          - {name: a, target: "work:hi", kwargs: {seconds: 30}}
          - {name: b, target: "work:hi"}
        """,
    )
    process = start("job.yaml", cwd=tmp_path)
    record = Path(tmp_path, ".mprun", "runs")
    eventually(lambda: any('"task_finished"' in one.read_text() for one in record.glob("*/events.jsonl")), 40)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert read(tmp_path, "report", "-o", "page.html").code == 0
    browser.open(tmp_path / "page.html")
    bars = "chart.lanes.flatMap((lane) => lane.bars)"
    assert browser.run(f"{bars}.map((bar) => [bar.task[0], bar.kind])") == [
        ["a", "unknown"],
        ["b", "succeeded"],
    ]
    assert browser.run(f"{bars}.map((bar) => bar.end === chart.end)[0]") is True


AXE = Path(sys.prefix, "node", "node_modules", "axe-core", "axe.min.js")


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: tools/browser")
@pytest.mark.parametrize("features", [{}, {"prefers_color_scheme": "dark"}, {"forced_colors": "active"}])
def test_axe_finds_nothing_that_keeps_people_from_reading_it(browser, page, features):
    browser.open(page, **features)
    browser.run("document.querySelector('#table tbody .link').click()")
    browser.driver.set_script_timeout(120)
    browser.driver.execute_script(AXE.read_text("utf-8"))
    found = browser.driver.execute_async_script("axe.run(document).then(arguments[0])")
    assert [(one["id"], one["nodes"][0]["failureSummary"]) for one in found["violations"]] == []
    assert len(found["passes"]) > 40


def test_on_a_telephone_nothing_is_wider_than_the_page(browser, page):
    browser.open(page, width=400)
    assert browser.run("document.documentElement.scrollWidth") <= 400


def test_forced_colours_reach_what_is_drawn(browser, page):
    browser.open(page, forced_colors="active", prefers_color_scheme="dark")
    data = "document.querySelector('#bars').getContext('2d').getImageData(0, 0, 60, 60).data"
    # White on black in this mode: the names of the lanes, too. Pixels at the edges of letters say nothing.
    opaque = f"[...{data}].filter((_, at, all) => at % 4 === 0 && all[at + 3] > 220)"
    assert browser.run(f"Math.max(...{opaque})") == 255


def test_ten_thousand_tasks_can_be_used_within_two_seconds(browser, tmp_path):
    large_run(tmp_path, 10_000)
    assert read(tmp_path, "report", "-o", "page.html").code == 0
    browser.open(tmp_path / "page.html")
    metrics = {one["name"]: one["value"] for one in browser.command("Performance.getMetrics")["metrics"]}
    # The time of its thread, in seconds: other processes take what they take.
    assert metrics["TaskDuration"] < 2
    assert browser.run("document.querySelector('#found').textContent") == "10000 of 10000 tasks"
    assert browser.run("chart.lanes.length") == 8


def test_a_hundred_thousand_tasks_are_all_there(browser, largest_report):
    browser.open(largest_report[0])
    assert browser.errors() == []
    assert browser.run("document.querySelector('#found').textContent") == "100000 of 100000 tasks"
    assert browser.run("chart.lanes.reduce((sum, lane) => sum + lane.bars.length, 0)") == 100_000
    pick(browser, "failed")
    assert browser.run("document.querySelector('#found').textContent") == "1000 of 100000 tasks"
    for _ in range(9):
        browser.run("document.querySelector('#next').click()")
    assert rows(browser)[-1] == "crunch[99999]"
    assert browser.run("document.querySelector('#next').disabled") is True
