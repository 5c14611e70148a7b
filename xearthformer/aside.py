"""Files are written aside and moved when they are whole: nobody reads half of one."""

import glob
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

KILLED = 86400.0  # seconds after which what was not moved is that of a process that was killed


@contextmanager
def written_aside(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a path, next to this one, for a file or folder that replaces it at the end.

    Each call has a path of its own: of two processes that write the same at once, each moves what
    it has written. On an error nothing is replaced, and nothing left.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "table.txt")
    ...     with written_aside(path) as part:
    ...         _ = part.write_text("1 2 3")
    ...     print(path.read_text(), os.listdir(folder))
    1 2 3 ['table.txt']
    """
    path = Path(path)
    for left in path.parent.glob(f"{glob.escape(path.name)}.{'[0-9a-f]' * 8}.part"):
        with suppress(OSError):  # another process has just moved it, or it is another user's
            if time.time() - left.stat().st_mtime > KILLED:
                remove(left)
    part = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield part
        if path.is_dir() or part.is_dir():  # which can't be replaced, and replaces no file
            remove(path)
        os.replace(part, path)
    finally:
        remove(part)


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there; of a link, the link alone."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
