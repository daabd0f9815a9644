"""What an agent sends of its attempts, and in which order."""

import errno
import os
from types import SimpleNamespace

import pytest

from mprun.executors import base
from mprun.executors.dask.outbox import LOG_INTERVAL, RESULT_SUFFIXES, Outbox
from mprun.executors.dask.pieces import PIECE_BYTES
from mprun.launcher.channel import STDOUT
from mprun.record import results

A, B = (0, 1), (1, 1)
NAMES = {A: "a", B: "b"}


class Desk:
    """An outbox with its directories; `sent` are its messages."""

    def __init__(self, path):
        for name in ("logs", "results", "artifacts"):
            (path / name).mkdir()
        self.path = path
        self.sent = []
        self.folders = [os.open(path / name, os.O_RDONLY) for name in ("logs", "results")]
        self.outbox = Outbox(*self.folders, "main.log", lambda *message: self.sent.append(message))
        for key, name in NAMES.items():
            self.outbox.add(request(key, name), str(path / "artifacts" / name) if name == "a" else "")

    def log(self, name, size):
        (self.path / "logs" / f"{name}.1.log").write_bytes(name.encode() * size)

    def start(self, *keys):
        for key in keys:
            self.outbox.put(base.Started(key=key, clock=0.0, pid=1, ppid=1, start_ticks=None))
        self.send()
        self.sent.clear()

    def send(self):
        """Send all that there is; how many bytes were sent each time."""
        sizes = []
        while self.outbox.has_more:
            before = len(self.sent)
            self.outbox.send(0.0)
            sizes.append(sum(len(part) for one in self.sent[before:] for part in one if type(part) is bytes))
        return sizes

    @property
    def order(self):
        """What was sent: the names of files, and of reports with those of their attempts."""
        return [
            f"{message[1]} {NAMES.get(message[2][0], '')}".strip() if message[0] == "report" else message[1]
            for message in self.sent
        ]


def request(key, name, after=()):
    return SimpleNamespace(
        key=key, log=f"{name}.1.log", result=f"{name}.1", after=tuple((each, None) for each in after)
    )


def exited(key, **facts):
    fields = {"pid": 1, "exit_code": 0, "core_dumped": False, "duration": 0.0, "cpu": None, "max_rss": None}
    return base.Exited(key=key, clock=0.0, threads=0, orphans=(), **{**fields, **facts})


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    for folder in found.folders:
        os.close(folder)


def test_an_end_waits_for_the_files_of_its_own_attempt_alone(desk):
    desk.start(A, B)
    desk.log("a", 3 * PIECE_BYTES)
    desk.log("b", 5)
    desk.outbox.put(exited(A))
    desk.outbox.put(exited(B))
    desk.send()
    assert desk.order == [
        *("a.1.log", "b.1.log", "Exited b", "a.1.log", "a.1.log"),
        *(A, "Exited a"),
    ]


def test_two_that_have_much_to_send_take_turns_and_little_is_sent_at_once(desk):
    desk.start(A, B)
    for key, name in NAMES.items():
        desk.log(name, 4 * PIECE_BYTES)
        desk.outbox.put(exited(key))
    sizes = desk.send()
    assert [name for name in desk.order if str(name).endswith(".log")] == ["a.1.log", "b.1.log"] * 4
    assert max(sizes) == PIECE_BYTES


def test_a_log_is_sent_while_its_task_runs_though_another_one_has_much_to_send(desk):
    desk.start(A, B)
    desk.log("a", 9 * PIECE_BYTES)
    desk.outbox.put(exited(A))
    desk.log("b", 5)
    desk.outbox.send(LOG_INTERVAL)
    desk.outbox.send(LOG_INTERVAL)
    assert desk.sent[1] == ("log", "b.1.log", b"bbbbb")
    desk.log("b", 6)
    desk.outbox.send(LOG_INTERVAL)
    assert desk.order == ["a.1.log", "b.1.log", "a.1.log", "a.1.log"]
    desk.outbox.send(2 * LOG_INTERVAL)
    assert ("log", "b.1.log", b"b") in desk.sent[4:]


def test_all_files_of_an_attempt_come_before_its_end_and_are_removed(desk):
    desk.start(A, B)
    folder = desk.path / "results"
    desk.log("a", 2)
    others = ["a.1.2.json", "a.1.json.1.json", "a.1.x.1.stdout", "ab.1.json"]
    for name in ("a.1.json", "a.1.stdout", *others):
        (folder / name).write_bytes(b"[]")
    (desk.path / "artifacts" / "a").mkdir()
    artifact = desk.path / "artifacts" / "a" / "file"
    artifact.write_bytes(b"1")
    artifact.chmod(0o640)
    os.utime(artifact, ns=(3, 5))
    desk.outbox.put(exited(A))
    desk.send()
    assert sorted(desk.order[1:3]) == ["a.1.json", "a.1.stdout"]
    assert desk.sent[3:6] == [
        ("artifact", A, ("file",), b"1"),
        ("artifact", A, ("file",), (0o640, 5)),
        ("end_artifacts", A, "a", ""),
    ]
    assert desk.order[6:] == ["Exited a"]
    assert sorted(path.name for path in folder.iterdir()) == others
    assert not list((desk.path / "logs").iterdir())
    assert not list((desk.path / "artifacts").iterdir())


def test_all_result_files_that_a_worker_or_a_launcher_writes_are_sent():
    written = (*results.RESULT_SUFFIXES, results.PROBLEM, results.ERROR, results.USAGE, STDOUT)
    assert set(RESULT_SUFFIXES) == set(written)


def test_what_was_started_after_an_attempt_comes_after_its_end(desk):
    desk.outbox.add(request(B, "b", after=[A]), "")
    desk.start(A)
    desk.log("a", 3 * PIECE_BYTES)
    desk.outbox.put(exited(A))
    desk.outbox.put(base.Started(key=B, clock=0.0, pid=1, ppid=1, start_ticks=None))
    desk.outbox.put(exited(B))
    desk.send()
    assert [name for name in desk.order if " " in name] == ["Exited a", "Started b", "Exited b"]


def test_a_start_that_is_cancelled_waits_for_nothing_that_runs(desk):
    desk.outbox.add(request(B, "b", after=[A]), "")
    desk.start(A)
    desk.outbox.put(base.StartCancelled(key=B, clock=0.0))
    desk.send()
    assert desk.order == ["StartCancelled b"]


def test_a_lost_launcher_is_reported_after_the_ends_that_it_has_told(desk):
    desk.start(A, B)
    desk.log("a", 3 * PIECE_BYTES)
    desk.log("b", 1)
    desk.outbox.put(exited(A))
    desk.outbox.put(base.ExecutorLost(how="signal 9"))
    desk.send()
    assert desk.order[-3] == "Exited a"
    assert desk.sent[-2:] == [("begun", [B]), ("report", "ExecutorLost", ["signal 9", False, ()])]


def log_in_record(messages, name):
    """The log that the bridge makes of messages."""
    log = b""
    for kind, *details in messages:
        if details[:1] == [name]:
            # The length of a hole is that many zeros.
            log = b"" if kind == "new_log" else log + bytes(details[1])
    return log


def grow(log):
    """As `tee -a` would."""
    with log.open("ab") as file:
        file.write(b"more\n")


def truncate_and_write(data):
    return lambda log: log.write_bytes(data)


def give_a_new_inode(log):
    """As `OutputPipe.replace_log` does if a process of the task reads its log."""
    copy = log.with_name(f"{log.name}.new")
    copy.write_bytes(log.read_bytes())
    copy.rename(log)


BEGUN = b"first\n" * 20
CHANGES = {
    "shorter": [truncate_and_write(b"new\n")],
    "in part": [lambda log: os.truncate(log, 7), grow],
    "longer than it was": [truncate_and_write(b"second\n" * 40)],
    "as long as it was": [truncate_and_write(b"other\n" * 20)],
    "empty": [truncate_and_write(b"")],
    "twice": [truncate_and_write(b"new\n"), truncate_and_write(b"newer\n"), grow],
    "of another inode": [give_a_new_inode, grow],
    "of another inode, and shorter": [give_a_new_inode, truncate_and_write(b"new\n"), grow],
    "of holes": [lambda log: os.truncate(log, 1 << 20), truncate_and_write(b"new\n")],
}


@pytest.mark.parametrize("looks", [True, False], ids=["seen at once", "seen at the end"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=list(CHANGES))
def test_a_log_in_the_record_is_that_of_the_host_though_its_task_truncates_or_reads_it(desk, changes, looks):
    desk.start(A)
    log = desk.path / "logs" / "a.1.log"
    log.write_bytes(BEGUN)
    desk.outbox.send(1.0)
    for number, change in enumerate(changes):
        # The clock of files has steps of some milliseconds.
        os.utime(log, ns=(0, number))
        change(log)
        if looks:
            desk.outbox.send(2.0 + number)
    expected = log.read_bytes()
    desk.outbox.put(exited(A))
    desk.send()
    assert log_in_record(desk.sent, "a.1.log") == expected


def test_the_log_of_a_main_process_never_begins_again_as_it_is_that_of_all_hosts(desk):
    log = desk.path / "logs" / "main.log"
    log.write_bytes(b"first\n")
    desk.outbox.send(1.0)
    log.write_bytes(b"new\n")
    desk.outbox.send(2.0)
    assert desk.sent == [("log", "main.log", b"first\n"), ("log", "main.log", b"new\n")]


def test_what_a_probe_prints_comes_before_its_answer(desk):
    desk.start(A, B)
    desk.outbox.begin_output(A, "a.1.ready.log")
    (desk.path / "logs" / "a.1.ready.log").write_bytes(b"no")
    desk.outbox.put(base.Probed(key=A, clock=0.0, number=1, exit_code=1, message=""))
    desk.send()
    assert [message[:2] for message in desk.sent[:3]] == [
        ("new_log", "a.1.ready.log"),
        ("log", "a.1.ready.log"),
        ("end_log", "a.1.ready.log"),
    ]
    assert desk.order[3:] == ["Probed a"]
    assert not (desk.path / "logs" / "a.1.ready.log").exists()


def test_a_probe_that_answers_after_the_end_of_its_attempt_leaves_nothing_open(desk):
    before = len(os.listdir("/proc/self/fd"))
    now = 0.0
    for attempt in range(1, 6):
        key, name = (0, attempt), f"a.{attempt}.ready"
        desk.outbox.add(request(key, name), "")
        desk.outbox.put(base.Started(key=key, clock=0.0, pid=1, ppid=1, start_ticks=None))
        # The second try begins before there is an answer to the first one.
        for _ in range(2):
            desk.outbox.begin_output(key, name)
            (desk.path / "logs" / name).write_bytes(b"no")
            for _ in range(2):
                now += 1.0
                desk.outbox.send(now)
        assert ("log", name, b"no") in desk.sent
        desk.sent.clear()
        desk.outbox.put(exited(key))
        desk.send()
        desk.outbox.put(base.Probed(key=key, clock=0.0, number=1, exit_code=1, message=""))
        desk.send()
        # So that the other end closes it, too.
        assert ("end_log", name) in desk.sent
    assert len(os.listdir("/proc/self/fd")) == before
    assert not list((desk.path / "logs").iterdir())


def test_a_full_disk_is_the_reason_of_what_fails(desk, monkeypatch):
    desk.start(A, B)
    monkeypatch.setattr(os, "fstatvfs", lambda folder: SimpleNamespace(f_bavail=0, f_blocks=1))
    desk.outbox.put(exited(A, exit_code=1))
    desk.outbox.put(exited(B))
    desk.send()
    errors = [base.Exited.from_tuple(fields).log_error for kind, *_, fields in desk.sent if kind == "report"]
    assert errors == [os.strerror(errno.ENOSPC), ""]


def test_a_start_that_was_cancelled_leaves_nothing(desk):
    path = desk.path / "artifacts" / "a"
    path.mkdir()
    desk.outbox.put(base.StartCancelled(key=A, clock=0.0))
    desk.send()
    assert desk.order == ["StartCancelled a"]
    assert (desk.outbox.artifacts_of(A), path.exists()) == ("", False)


def test_of_a_launcher_that_is_gone_the_attempts_that_had_a_process_are_told(desk):
    """A target by its log, a command by what was noted."""
    a, b = list(NAMES)[:2]
    desk.log(NAMES[a], 1)
    (desk.path / "logs" / "begun").write_text(f"{NAMES[b]}.1.log\n")
    desk.outbox.put(base.ExecutorLost(how="killed by SIGKILL", left=()))
    desk.send()
    assert ("begun", [a, b]) in desk.sent
