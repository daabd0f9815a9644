"""Opens and checks everything below a state directory, from directories that are held open.

A state directory may have come with a cloned repository, or be in a place where others can write. So
nothing below it is opened, removed or signalled by its path alone: docs/record.md has the rules.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from mprun.diagnostics import quote

# A directory, and not a link to one.
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Nothing that is opened waits for another process, as a FIFO does, or becomes the terminal of this one.
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
# The flags to write a file from its start.
CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_WRITES = os.O_WRONLY | os.O_RDWR
# How much of a file is read at once, in bytes: first, and then.
_CHUNK_BYTES, _LARGE_CHUNK_BYTES = 1 << 14, 1 << 20
# How it fails for a link, a directory, and for a FIFO or a socket without another end.
_NO_FILE = (errno.ELOOP, errno.EISDIR, errno.ENXIO)


class NotOurs(OSError):
    """What has a name below a state directory is not what mprun makes; `strerror` says what it is.

    `remedy` is what helps if it is the state directory itself.
    """

    def __init__(self, path: str, what: str, remedy: str) -> None:
        super().__init__(errno.EPERM, f"{quote(os.path.basename(path))} {what}")
        self.remedy = remedy


class Folder:
    """A directory below a state directory, or that itself, which is held open from its first use.

    So a name always means an entry of this directory, whatever its path leads to by now. It is not a
    link, it belongs to the user, and other users cannot write to it; the files that are opened in it are
    regular files of the same user. What is not is refused: see NotOurs. With `to_read`, root may
    also use the state directory of another user, all of which must then be of that user.

    Every method raises OSError.
    """

    __slots__ = ("_descriptor", "_owner", "_to_read", "path", "within")

    def __init__(self, path: str, within: Folder | None = None, *, to_read: bool = False) -> None:
        self.path = path
        self.within = within
        self._to_read = to_read
        self._descriptor = -1
        self._owner = -1

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Hold it no more; the next use opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    @property
    def descriptor(self) -> int:
        """The open directory."""
        # Not `require`: a run asks for it a thousand times a second.
        if self._descriptor < 0:
            self._open()
        return self._descriptor

    @property
    def owner(self) -> int:
        """The number of the user to whom all of it belongs."""
        self.require()
        return self._owner

    def _open(self) -> None:
        within = self.within
        name = self.path if within is None else os.path.basename(self.path)
        above = None if within is None else within.descriptor
        try:
            descriptor = os.open(name, _DIRECTORY, dir_fd=above)
        except NotADirectoryError:
            raise _wrong_kind(self.path, os.lstat(name, dir_fd=above), "directory") from None
        found = os.fstat(descriptor)
        if within is not None:
            owner = within.owner
        elif self._to_read and os.geteuid() == 0:
            owner = found.st_uid
        else:
            owner = os.geteuid()
        if found.st_uid != owner or found.st_mode & 0o022:
            os.close(descriptor)
            raise _of_others(self.path, found, owner)
        self._descriptor, self._owner = descriptor, owner

    def require(self) -> None:
        """Raise an error unless it is there, and the user's own."""
        if self._descriptor < 0:
            self._open()

    def place(self) -> tuple[str, int, int]:
        """Its path, device and inode; inode 0 if the file system gives it another number each time."""
        found = os.fstat(self.descriptor)
        return self.path, found.st_dev, 0 if self.misplaced() else found.st_ino

    def misplaced(self) -> str:
        """What has happened to it, if its name in the directory around it is not its own any more."""
        name = os.path.basename(self.path)
        try:
            named = os.lstat(self.path) if self.within is None else self.within.stat(name)
        except FileNotFoundError:
            return "removed or moved away"
        except OSError:
            # This proves nothing.
            return ""
        return "" if os.path.samestat(named, os.fstat(self.descriptor)) else "replaced"

    def folder(self, name: str) -> Folder:
        """A directory in it, which may not exist."""
        return Folder(f"{self.path}/{name}", self)

    def make(self, name: str) -> Folder:
        """A directory in it, which is created if it does not exist."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self.descriptor)
        return self.folder(name)

    def file(self, name: str) -> StateFile:
        """A file in it, which may not exist."""
        return StateFile(self, name)

    def open(self, name: str, flags: int = os.O_RDONLY, *, may_be_linked: bool = False) -> int:
        """Open a regular file; with O_CREAT in `flags`, it is created for its owner only.

        Unless it `may_be_linked`, one that is opened to be written must have no other name anywhere.
        """
        try:
            # Truncated only once it is known to be ours.
            file = os.open(name, flags & ~os.O_TRUNC | _FILE, 0o600, dir_fd=self.descriptor)
        except OSError as error:
            if error.errno not in _NO_FILE:
                raise
            # A link, a socket, or a FIFO without a reader.
            raise _wrong_kind(f"{self.path}/{name}", self.stat(name), "regular file") from None
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_uid == self._owner:
            if not flags & _WRITES or found.st_nlink < 2 or may_be_linked:
                if flags & os.O_TRUNC:
                    os.ftruncate(file, 0)
                return file
            os.close(file)
            raise NotOurs(f"{self.path}/{name}", "has another name, too (a hard link)", "")
        os.close(file)
        if stat.S_ISREG(found.st_mode):
            raise _of_others(f"{self.path}/{name}", found, self._owner)
        raise _wrong_kind(f"{self.path}/{name}", found, "regular file")

    def stat(self, name: str) -> os.stat_result:
        """What is known of an entry; of a link, not of what it leads to."""
        return os.lstat(name, dir_fd=self.descriptor)

    def names(self) -> list[str]:
        """The names of all entries."""
        return os.listdir(self.descriptor)

    def is_empty(self) -> bool:
        """Whether nothing is in it."""
        with os.scandir(self.descriptor) as entries:
            return next(entries, None) is None

    def link(self, content: str, name: str) -> None:
        """Make a symbolic link, which is a file that appears with all its content at once."""
        os.symlink(content, name, dir_fd=self.descriptor)

    def read_link(self, name: str) -> str:
        """The content of a symbolic link."""
        return os.readlink(name, dir_fd=self.descriptor)

    def unlink(self, name: str) -> None:
        """Remove an entry that is not a directory; of a link, the link."""
        os.unlink(name, dir_fd=self.descriptor)

    def rename(self, old: str, new: str, into: Folder | None = None) -> None:
        """Give an entry another name, here or in another directory, in place of what has that name."""
        os.rename(old, new, src_dir_fd=self.descriptor, dst_dir_fd=(into or self).descriptor)

    def remove(self, name: str, last: str = "") -> None:
        """Remove a directory and all that is in it, one entry of it after all others; no link is followed."""
        import shutil

        removed = self.folder(name)
        for entry in sorted(removed.names(), key=last.__eq__):
            if stat.S_ISDIR(removed.stat(entry).st_mode):
                shutil.rmtree(entry, dir_fd=removed.descriptor)
            else:
                removed.unlink(entry)
        os.rmdir(name, dir_fd=self.descriptor)


def _wrong_kind(path: str, found: os.stat_result, wanted: str) -> NotOurs:
    from mprun.linux.file_kinds import kind_of

    kind = kind_of(found.st_mode)
    return NotOurs(path, f"is a {kind}, not a {wanted}", "use `--state-dir` to name a directory itself")


def _of_others(path: str, found: os.stat_result, owner: int) -> NotOurs:
    if found.st_uid != owner:
        what = f"belongs to another user (uid {found.st_uid})"
        return NotOurs(path, what, "use `--state-dir` to name a directory of yours, or run this as that user")
    mode = stat.S_IMODE(found.st_mode)
    what = f"can be written by other users (mode {mode:04o})"
    return NotOurs(path, what, "if no one else has written to it, use `chmod -R go-w` on it")


class StateFile:
    """A file below a state directory, by its name: it may not exist, and not be one of ours."""

    __slots__ = ("folder", "name")

    def __init__(self, folder: Folder, name: str) -> None:
        self.folder = folder
        self.name = name

    @property
    def path(self) -> str:
        """Its path, for messages."""
        return f"{self.folder.path}/{self.name}"

    def with_suffix(self, suffix: str) -> StateFile:
        """The file with a longer name."""
        return StateFile(self.folder, self.name + suffix)

    def exists(self) -> bool:
        """Whether there is something of this name, and not a link that leads nowhere."""
        try:
            # Most files do not exist, and an exception takes longer than a check.
            return os.access(self.name, os.F_OK, dir_fd=self.folder.descriptor)
        except OSError:
            return False

    def size(self) -> int:
        """Its size in bytes; 0 if there is no such file, or not one of ours."""
        try:
            found = os.lstat(self.name, dir_fd=self.folder.descriptor)
        except OSError:
            return 0
        size = found.st_size
        return size if size and stat.S_ISREG(found.st_mode) else 0

    def stat(self) -> os.stat_result:
        """What is known of it; of a link, not of what it leads to. Raises OSError."""
        return self.folder.stat(self.name)

    def open(self, flags: int = os.O_RDONLY) -> int:
        """Open it. Raises OSError."""
        return self.folder.open(self.name, flags)

    def flaw(self) -> str:
        """Why it is not read although there is something of this name; empty if it is."""
        try:
            os.close(self.open())
        except NotOurs as error:
            return str(error.strerror)
        except OSError:
            pass
        return ""

    def give_to(self, folder: Folder) -> None:
        """Put it into another directory as well, under the same name. Raises OSError."""
        file = self.open()
        try:
            os.link(
                self.name,
                self.name,
                src_dir_fd=self.folder.descriptor,
                dst_dir_fd=folder.descriptor,
                follow_symlinks=False,
            )
        except FileExistsError:
            raise
        except OSError:
            # Another file system, or one without links.
            import shutil

            with (
                open(file, "rb", closefd=False) as source,
                open(folder.open(self.name, CREATE), "wb") as copy,
            ):
                shutil.copyfileobj(source, copy)
        finally:
            os.close(file)

    def read(self, limit: int) -> bytes | None:
        """Its first `limit` bytes; None if it cannot be read."""
        if not self.exists():
            return None
        try:
            file = self.folder.open(self.name)
        except OSError:
            return None
        # Not a file object, for which Python makes eight system calls more, and reserves `limit` bytes.
        try:
            chunks, size = [], _CHUNK_BYTES
            # Until nothing comes: a file system may give less than is asked for before the end of the file.
            while limit > 0 and (chunk := os.read(file, min(limit, size))):
                chunks.append(chunk)
                limit -= len(chunk)
                if len(chunk) == size:
                    size = _LARGE_CHUNK_BYTES
            return b"".join(chunks)
        finally:
            os.close(file)

    def read_end(self, limit: int) -> bytes:
        """Its last `limit` bytes; empty if it cannot be read."""
        try:
            file = self.folder.open(self.name)
        except OSError:
            return b""
        with open(file, "rb") as stream:
            stream.seek(max(0, os.fstat(file).st_size - limit))
            return stream.read(limit)
