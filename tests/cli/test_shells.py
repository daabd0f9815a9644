"""Completion in real shells: on a terminal bash without bash-completion, and zsh; what fish would offer."""

import contextlib
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import textwrap
import time

import pytest
from support.runs import environment
from support.wheels import ACME, install, wheel

pytestmark = [pytest.mark.once, pytest.mark.timeout(300)]
BASH, ZSH, FISH = shutil.which("bash"), shutil.which("zsh"), shutil.which("fish")
needs_bash = pytest.mark.skipif(BASH is None, reason="needs bash")
needs_zsh = pytest.mark.skipif(ZSH is None, reason="needs zsh")
needs_fish = pytest.mark.skipif(FISH is None, reason="needs fish")

JOB = """
    params: {size: {enum: [small, large], default: small}, day: {default: today}}
    tasks:
      - {name: say, command: echo}
      - {name: many, command: echo, matrix: {x: [1, 2]}}
    """
# A job file of someone else.
HOSTILE = """
    params:
      x: {default: "!!", enum: [$(touch PWNED), two words, a;touch PWNED, it's, 'say "hi"', '`touch PWNED`',
                 "l1\\nl2 $(touch PWNED)", "!!", "b,", "c,d", "~", "#no", 'back\\slash', 'z{1,2}*', ä é]}
    tasks:
      - {name: sp ace, command: echo}
      - {name: other, command: echo}
    """


class Shell:
    """An interactive shell; `line` types a text and TAB, and returns the command line."""

    def __init__(self, name, command, setup, cwd, env):
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.count = 0
        self.file = cwd / name
        self.ask(setup)

    def ask(self, text):
        """Type, and wait until the shell has read and done it all."""
        self.count += 1
        done = self.file.with_name(f"{self.file.name}-{self.count}")
        os.write(self.terminal, f"{text}: > {done.name}\n".encode())
        self.until(done.exists)

    def until(self, holds):
        """Read what the shell shows, so that it does not wait for that, until something holds."""
        end = time.monotonic() + 120
        while not holds():
            assert time.monotonic() < end
            if select.select([self.terminal], [], [], 0.05)[0]:
                os.read(self.terminal, 65536)

    def line(self, text):
        """The command line after a TAB."""
        self.file.unlink(missing_ok=True)
        os.write(self.terminal, f"{text}\t\n".encode())
        self.until(lambda: self.file.exists() and self.file.read_text().endswith("\n"))
        return self.file.read_text().rstrip("\n")

    def close(self):
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):
            os.close(self.terminal)


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    install(wheel(tmp_path_factory.mktemp("wheel"), ACME), folder / "lib")
    (folder / "local.yaml").write_text(textwrap.dedent(JOB))
    (folder / "hostile.yaml").write_text(textwrap.dedent(HOSTILE))
    (folder / "nice job;touch PWNED.yaml").write_text(textwrap.dedent(JOB))
    (folder / "bin").mkdir()
    script = folder / "bin" / "mprun"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m mprun "$@"\n')
    script.chmod(0o755)
    return folder


def variables(desk):
    path = f"{desk / 'bin'}:{os.environ['PATH']}"
    return environment(PATH=path, PYTHONPATH=str(desk / "lib"), TERM="dumb", HOME=str(desk), PS1="> ")


@pytest.fixture(scope="module")
def bash(desk):
    show = 'shown() { printf "%s\\n" "$*" > bash.new; mv bash.new bash; }'
    # An alias, because completion itself calls the program.
    setup = f'{show}; eval "$(_MPRUN_COMPLETE=bash_source mprun)"; alias mprun=shown; '
    setup = f"bind '\"\\C-t\": menu-complete-backward'; {setup}"
    shell = Shell("bash", [BASH, "--norc", "--noprofile", "-i"], setup, desk, variables(desk))
    yield shell
    shell.close()


@pytest.fixture(scope="module")
def zsh(desk):
    source = 'autoload -Uz compinit && compinit -u -D; eval "$(_MPRUN_COMPLETE=zsh_source mprun)"'
    show = 'show() { print -r -- "${BUFFER#mprun }" > zsh.new; mv zsh.new zsh; BUFFER=; zle .accept-line }'
    # zsh would complete an alias in place of the command.
    setup = f"{source}; {show}; zle -N show; bindkey '^J' show; bindkey '^M' show; "
    shell = Shell("zsh", [ZSH, "-f", "-i"], setup, desk, variables(desk))
    yield shell
    shell.close()


CASES = {
    "mprun local.yaml -p si": "local.yaml -p size=",
    "mprun local.yaml -p size=l": "local.yaml -p size=large",
    "mprun local.yaml -p day=x -p size=l": "local.yaml -p day=x -p size=large",
    "mprun local.yaml --param=size=l": "local.yaml --param=size=large",
    "mprun local.yaml --param size=l": "local.yaml --param size=large",
    "mprun local.yaml sa": "local.yaml say",
    "mprun loc": "local.yaml",
    "mprun acme_jobs:e": "acme_jobs:etl.yaml",
    "mprun describe acme_jobs:e": "describe acme_jobs:etl.yaml",
    "mprun acme_jobs:etl.yaml -p size=l": "acme_jobs:etl.yaml -p size=large",
    "mprun acme_jobs:etl.yaml ex": "acme_jobs:etl.yaml extract",
    "mprun ac": "acme_jobs:",
    "mprun describe ac": "describe acme_jobs:",
}


@needs_bash
@pytest.mark.parametrize(("typed", "expected"), CASES.items())
def test_bash_without_its_package_completes_words_with_colons_and_equal_signs(typed, expected, bash):
    assert bash.line(typed) == expected


@needs_zsh
@pytest.mark.parametrize(("typed", "expected"), CASES.items())
def test_zsh_completes_a_word_as_a_whole(typed, expected, zsh):
    assert zsh.line(typed).rstrip() == expected


# What is typed, what bash takes for words then, and what zsh has on its line.
HOSTILE_CASES = {
    "mprun hostile.yaml -p 'x=$": ("x=$(touch PWNED)", "'x=$(touch PWNED)'"),
    "mprun hostile.yaml -p x=\\$": ("x=$(touch PWNED)", r"x=\$\(touch\ PWNED\)"),
    "mprun hostile.yaml -p x=tw": ("x=two words", r"x=two\ words"),
    "mprun hostile.yaml -p x=two\\ w": ("x=two words", r"x=two\ words"),
    "mprun hostile.yaml --param=x=tw": ("--param=x=two words", r"--param=x=two\ words"),
    "mprun hostile.yaml -p x='tw": ("x=two words", None),
    "mprun hostile.yaml -p 'x=tw": ("x=two words", "'x=two words'"),
    'mprun hostile.yaml -p "x=tw': ("x=two words", '"x=two words"'),
    "mprun hostile.yaml -p x=a": ("x=a;touch PWNED", r"x=a\;touch\ PWNED"),
    "mprun hostile.yaml -p 'x=a": ("x=a;touch PWNED", "'x=a;touch PWNED'"),
    "mprun hostile.yaml -p x=it": ("x=it's", r"x=it\'s"),
    "mprun hostile.yaml -p x=say": ('x=say "hi"', r"x=say\ \"hi\""),
    "mprun hostile.yaml -p x=\\`": ("x=`touch PWNED`", r"x=\`touch\ PWNED\`"),
    "mprun hostile.yaml -p x=l": ("x=l", "x=l"),
    "mprun hostile.yaml -p x=b,": ("x=b,", "x=b,"),
    "mprun hostile.yaml -p x=c": ("x=c,d", "x=c,d"),
    "mprun hostile.yaml -p x=back": ("x=back\\slash", r"x=back\\slash"),
    "mprun hostile.yaml -p x=z": ("x=z{1,2}*", None),
    "mprun hostile.yaml -p x=ä": ("x=ä é", None),
    "mprun hostile.yaml sp": ("sp ace", r"sp\ ace"),
    "mprun ni": ("nice job;touch PWNED.yaml", r"nice\ job\;touch\ PWNED.yaml"),
}


def pairs(which):
    return [(typed, both[which]) for typed, both in HOSTILE_CASES.items() if both[which] is not None]


@needs_bash
@pytest.mark.parametrize(("typed", "expected"), pairs(0))
def test_bash_takes_an_item_for_one_word_whatever_is_in_it(typed, expected, bash, desk):
    words = bash.line(typed).removeprefix("hostile.yaml ").removeprefix("-p ")
    assert (words, (desk / "PWNED").exists()) == (expected, False)


@needs_bash
def test_bash_quotes_the_file_names_beside_recipes(bash, desk):
    hostile = desk / "acme ;touch PWNED.yaml"
    hostile.write_text(textwrap.dedent(JOB))
    try:
        # The last one.
        assert bash.line("mprun ac\x14") == hostile.name
    finally:
        hostile.unlink()
    assert not (desk / "PWNED").exists()


@needs_zsh
@pytest.mark.parametrize(("typed", "expected"), pairs(1))
def test_zsh_quotes_an_item(typed, expected, zsh):
    assert zsh.line(typed).rstrip().removeprefix("hostile.yaml ").removeprefix("-p ") == expected


def offered_by_fish(desk, *typed):
    """What fish offers for the last word of each command line; it quotes what it puts into a line itself."""
    lines = "; ".join(f"complete -C {shlex.quote(line)}; echo END" for line in typed)
    script = f"_MPRUN_COMPLETE=fish_source mprun | source; {lines}"
    command = [FISH, "--no-config", "-c", script]
    done = subprocess.run(command, cwd=desk, env=variables(desk), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return [part.split("\n")[:-1] for part in done.stdout.split("END\n")[:-1]]


@needs_fish
def test_fish_offers_whole_words(desk):
    both = ["acme_jobs:etl.yaml", "acme_jobs:parts/load.yaml"]
    words = [expected.rpartition(" ")[2] for expected in CASES.values()]
    offered = [both if word == "acme_jobs:" else [word] for word in words]
    assert offered_by_fish(desk, *CASES) == offered


@needs_fish
def test_fish_offers_an_item_whatever_is_in_it(desk):
    [offered] = offered_by_fish(desk, "mprun hostile.yaml -p x=")
    assert {"x=c,d", "x=two words", "x=a;touch PWNED", "x=$(touch PWNED)", "x=b,"} <= {*offered}
    assert not (desk / "PWNED").exists()
