"""One user's folder in a home: version files that are written once, whole or not at all.

A version is written to a temporary file, flushed to disk and linked under the next free
number. A damaged one is renamed by a fit, never removed.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from itertools import count
from pathlib import Path

from personalrm.errors import CorruptFile, NewerVersion, StoreError
from personalrm.preferences.personal_prompts import PersonalPrompt
from personalrm.preferences.prompt_json import prompt_from_json
from personalrm.store.atomic import sync_folder

DAMAGED = ".damaged"
"""What is put behind the name of a version that was set aside."""
WITHOUT_LINKS = {errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What file systems without hard links answer: exFAT, some network folders, FAT on Windows."""
VERSION_NAME = re.compile(rf"v([0-9]{{4,}})\.json({re.escape(DAMAGED)}[0-9]*)?")


def hash_of(user_id: str) -> str:
    """The name of a user's folder; ids themselves never reach the file system."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def store_error(home: Path, verb: str, error: OSError) -> StoreError:
    """What the disk refused, in a sentence."""
    reason = error.strerror or type(error).__name__
    return StoreError(f"home folder {str(home)!r} cannot be {verb} ({reason}); check the path, the rights and the disk")


class UserFolder:
    """The versions of one user; the constructor touches nothing.

    Args:
        home: The home folder.
        name: The user's hash.
    """

    def __init__(self, home: Path, name: str) -> None:
        self.home, self.name = home, name
        self.path = home / "users" / name

    def numbers(self, *, with_damaged: bool = False) -> list[int]:
        """Version numbers on disk, those set aside only if wanted; temporary files of a killed run are not versions."""
        try:
            names = os.listdir(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise store_error(self.home, "read", error) from None
        found = [VERSION_NAME.fullmatch(name) for name in names]
        return sorted(int(match[1]) for match in found if match and (with_damaged or not match[2]))

    def text(self, number: int) -> str:
        """The JSON of a version.

        Raises:
            CorruptFile: If a folder lies in its place.
            StoreError: If it cannot be read.
        """
        path = self._file(number)
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except IsADirectoryError:
            raise CorruptFile(f"{str(path)!r} is a folder, not a file; move it away") from None
        except OSError as error:
            raise store_error(self.home, "read", error) from None

    def read(self, number: int) -> PersonalPrompt:
        """The prompt of a version.

        Raises:
            CorruptFile: If it is damaged or somebody else's.
            NewerVersion: If a later personalrm wrote it.
        """
        where = str(self._file(number).relative_to(self.home))
        prompt = prompt_from_json(self.text(number), where=where)
        if hash_of(prompt.user_id) != self.name:
            raise CorruptFile(
                f"{where} is the prompt of user {prompt.user_id!r}, who belongs elsewhere; fit again or delete the user"
            )
        return prompt

    def attempt(self, number: int) -> tuple[PersonalPrompt | None, str]:
        """The prompt of a version, or None and why it cannot be read."""
        try:
            return self.read(number), ""
        except (CorruptFile, NewerVersion) as error:
            return None, str(error)

    def add(self, text: str) -> tuple[int, bool]:
        """Write the next version, unless the newest holds this very text; its number, and whether it is new."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            while True:
                newest = max(self.numbers(), default=0)
                if newest and _holds(self._file(newest), text):
                    return newest, False
                following = 1 + max(self.numbers(with_damaged=True), default=0)
                if _write_new(self._file(following), text):
                    return following, True
        except OSError as error:
            raise error if isinstance(error, StoreError) else store_error(self.home, "written", error) from None

    def set_aside(self, number: int) -> str:
        """Rename a damaged version, which may be a folder, to a name that is free; returns the name."""
        path = self._file(number)
        names = (path.with_name(f"{path.name}{DAMAGED}{again or ''}") for again in count())
        free = next(name for name in names if not name.exists())
        try:
            path.rename(free)
        except OSError as error:
            raise store_error(self.home, "written", error) from None
        return free.name

    def remove(self) -> None:
        """Remove all of it; `OSError` where the disk refuses."""
        if self.path.exists():
            shutil.rmtree(self.path)

    def file_name(self, number: int) -> str:
        """The name of a version's file."""
        return f"v{number:04d}.json"

    def _file(self, number: int) -> Path:
        return self.path / self.file_name(number)


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


def _write_new(path: Path, text: str) -> bool:
    """Write a file that must not exist yet, whole or not at all; False when somebody else was first."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".new-", delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            file.close()
            _name_new(Path(file.name), path)
        except FileExistsError:
            return False
        finally:
            Path(file.name).unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _name_new(written: Path, path: Path) -> None:
    """Give a written file its name unless somebody has it already."""
    try:
        os.link(written, path)  # unlike a rename this never replaces another process's version
    except OSError as error:
        if error.errno not in WITHOUT_LINKS:
            raise
        # The name is claimed first. A kill between these lines leaves an empty version, which the next fit sets aside.
        path.touch(exist_ok=False)
        os.replace(written, path)
