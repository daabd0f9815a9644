"""Network namespaces as the hosts of a cluster, with links that can be cut: for root on Linux."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from pathlib import Path

_PREFIX = "mprun-"
# No other network has it that this one could be confused with: the namespaces have no way out.
_SUBNET = "10.77.0"
_NOWHERE = "02:00:00:00:00:01"
_LINK, _BRIDGE = "eth0", "br0"
_numbers = itertools.count()


def missing():
    """Why there can be no such network here; "" if there can be."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program in ("ip", "tc", "nsenter"):
        if shutil.which(program) is None:
            return f"`{program}` is not installed (iproute2, util-linux)"
    try:
        Network(()).close()
    except subprocess.CalledProcessError as error:
        return f"no network namespaces: {error.stderr.strip()}"
    return ""


class Network:
    """A bridge in a namespace of its own, and a namespace with one link to it for each name of `hosts`.

    `address` has the address of each, by name; that of the bridge's is "bridge".
    """

    def __init__(self, hosts):
        _remove_abandoned()
        self._base = f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
        self._bridge = self._namespace("bridge")
        self.hosts = tuple(hosts)
        self.address = {name: f"{_SUBNET}.{number}" for number, name in enumerate(("bridge", *hosts), 1)}
        try:
            self._make()
        except BaseException:
            self.close()
            raise

    def _namespace(self, name):
        return f"{self._base}-{name}"

    def _make(self):
        ip("netns", "add", self._bridge)
        ip("-n", self._bridge, "link", "set", "lo", "up")
        ip("-n", self._bridge, "link", "add", _BRIDGE, "type", "bridge")
        ip("-n", self._bridge, "addr", "add", f"{self.address['bridge']}/24", "dev", _BRIDGE)
        ip("-n", self._bridge, "link", "set", _BRIDGE, "up")
        for name in self.hosts:
            there = self._namespace(name)
            ip("netns", "add", there)
            ip("-n", self._bridge, *f"link add to-{name} type veth peer name {_LINK} netns {there}".split())
            ip("-n", self._bridge, *f"link set to-{name} master {_BRIDGE} up".split())
            ip("-n", there, *f"addr add {self.address[name]}/24 dev {_LINK}".split())
            ip("-n", there, "link", "set", _LINK, "up")
            ip("-n", there, "link", "set", "lo", "up")

    def within(self, name):
        """What comes before a command that is to run there; its process is that of the command."""
        script = 'echo "$0" > /proc/sys/kernel/hostname; exec "$@"'
        path = f"/run/netns/{self._namespace(name)}"
        return ("nsenter", f"--net={path}", "unshare", "--uts", "sh", "-c", script, f"host-{name}")

    def cut(self, name):
        """Take the cable out."""
        ip("-n", self._bridge, "link", "set", f"to-{name}", "down")

    def lose(self, name, to):
        """Lose all packets from one to the other, and none of those the other way."""
        device = _BRIDGE if name == "bridge" else _LINK
        where = ("-n", self._namespace(name), "neigh")
        ip(*where, "replace", self.address[to], "lladdr", _NOWHERE, "nud", "permanent", "dev", device)

    def slow(self, name, rate):
        """Let no more pass either way, such as `1mbit`."""
        for namespace, device in ((self._bridge, f"to-{name}"), (self._namespace(name), _LINK)):
            shape = (
                f"tc -n {namespace} qdisc replace dev {device} root tbf rate {rate} burst 16kb latency 200ms"
            )
            _run(shape.split())

    def heal(self):
        """Undo all of that."""
        for name in self.hosts:
            ip("-n", self._bridge, "link", "set", f"to-{name}", "up")
            for namespace, device in ((self._bridge, f"to-{name}"), (self._namespace(name), _LINK)):
                with contextlib.suppress(subprocess.CalledProcessError):
                    _run(f"tc -n {namespace} qdisc del dev {device} root".split())
        for name in ("bridge", *self.hosts):
            device = _BRIDGE if name == "bridge" else _LINK
            ip("-n", self._namespace(name), "neigh", "flush", "dev", device, "nud", "permanent")

    def close(self):
        """Remove it, after a kill of what is still in it."""
        _remove(self._base)


def ip(*words):
    """Run the command `ip`."""
    _run(["ip", *words])


def _run(words):
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=20).stdout


def _remove(base):
    for path in Path("/run/netns").glob(f"{base}-*"):
        for pid in _run(["ip", "netns", "pids", path.name]).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        ip("netns", "del", path.name)


def _remove_abandoned():
    """Remove the networks of programs that were killed."""
    for path in Path("/run/netns").glob(f"{_PREFIX}*-*-bridge"):
        base = path.name.removesuffix("-bridge")
        if not Path("/proc", base.split("-")[1]).exists():
            _remove(base)
