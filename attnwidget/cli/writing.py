"""Files that are written as a whole or not at all, and never over another one unless that was asked for."""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def check_target(target: Path, *, force: bool) -> None:
    """Refuse before any work is done what could not be written after it.

    Raises:
        FileExistsError, IsADirectoryError, FileNotFoundError: what is in the way, or missing.
    """
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder; expected the name of a file to write")
    if target.exists() and not force:
        raise FileExistsError(f"{target} exists already; --force replaces it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {target.parent} to write {target.name} into")


@contextmanager
def written_whole(target: Path, ending: str, *, force: bool) -> Iterator[Path]:
    """A name to write to, of this ending and in the folder of the target; it becomes the target if the block succeeds.

    Raises:
        OSError: the target cannot be written, or has come to exist meanwhile.
    """
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part.{ending}")
    try:
        yield scratch
        check_target(target, force=force)
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)
