"""Chromium without a network and without a window, for pages that are made here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress

import psutil

from mprun.linux import prctl

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

# Nothing of these asks the network or the desktop for anything.
_FLAGS = (
    "headless",
    "disable-background-networking",
    "disable-component-update",
    # Debian's container images have 64 MB there.
    "disable-dev-shm-usage",
    "disable-gpu",
    "disable-sync",
    "hide-scrollbars",
    "no-first-run",
    # Chromium ends when the other end is closed, also if driver and tests have been killed.
    "remote-debugging-pipe",
)


def _can_have_a_sandbox():
    """Chromium's needs a user other than root, and namespaces, which containers often refuse."""
    if os.geteuid() == 0:
        return False
    with suppress(OSError):
        return subprocess.run(["unshare", "--user", "--net", "true"], capture_output=True).returncode == 0
    return False


class Browser:
    """Chromium: `open` shows a page, `run` runs a script in it, `close` leaves no process and no file."""

    def __init__(self):
        from selenium import webdriver
        from selenium.webdriver.chrome.options import Options
        from selenium.webdriver.chrome.service import Service

        self.profile = tempfile.mkdtemp()
        options = Options()
        options.binary_location = CHROMIUM
        for flag in _FLAGS if _can_have_a_sandbox() else (*_FLAGS, "no-sandbox"):
            options.add_argument(f"--{flag}")
        options.add_argument(f"--user-data-dir={self.profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        # Both paths are given, so selenium looks for neither, nor downloads it.
        self.service = Service(
            DRIVER, popen_kw={"preexec_fn": lambda: prctl.set_parent_death_signal(signal.SIGTERM)}
        )
        try:
            self.driver = webdriver.Chrome(options=options, service=self.service)
            self.command("Network.enable")
            offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
            self.command("Network.emulateNetworkConditions", **offline)
            self.command("Performance.enable", timeDomain="threadTicks")
        except BaseException:
            self.close()
            raise

    def command(self, name, **values):
        """Send a command of the DevTools protocol."""
        return self.driver.execute_cdp_cmd(name, values)

    def media(self, name="", **features):
        """Show the page as on `name` ("print"), with features such as `prefers_color_scheme="dark"`."""
        features = [{"name": key.replace("_", "-"), "value": value} for key, value in features.items()]
        self.command("Emulation.setEmulatedMedia", media=name, features=features)

    def open(self, path, *, width=1280, height=900, **features):
        self.media(**features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        self.driver.get(path.as_uri())
        return self

    def run(self, script, *arguments):
        """The value of an expression; `arguments[0]` is the first argument."""
        return self.driver.execute_script(f"return {script}", *arguments)

    def press(self, *keys):
        """Send keys to what has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def errors(self):
        """What the console has said since the last call."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def close(self):
        processes = psutil.Process().children(recursive=True)
        with suppress(Exception):
            self.driver.quit()
        own = [one for one in processes if self._is_ours(one)]
        for one in own:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        psutil.wait_procs(own, timeout=10)
        # Selenium kills a driver that has not ended within a minute, and does not wait for it.
        driver = self.service.process
        if driver is not None and driver.poll() is None:
            driver.kill()
            driver.wait(10)
        shutil.rmtree(self.profile, ignore_errors=True)

    def _is_ours(self, process):
        with suppress(psutil.Error):
            return any(self.profile in word for word in process.cmdline())
        return False
