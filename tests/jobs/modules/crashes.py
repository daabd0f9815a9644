"""Crashes at import."""

import os
import signal

os.kill(os.getpid(), signal.SIGSEGV)
