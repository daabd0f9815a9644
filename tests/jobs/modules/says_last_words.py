"""Says why, and is gone: as a library in C that aborts."""

import os

os.write(2, b"libfrob: no \x1b[31mfrobs\x1b[0m on this machine\n\n")
os._exit(9)
