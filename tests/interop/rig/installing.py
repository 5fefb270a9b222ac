"""Virtual environments that are made once and found again as long as what they hold is the same."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


def log(text: str) -> None:
    print(f"[rig] {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Wait until no other thread or process holds the lock that this file stands for."""
    with open(path, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def venv(root: Path, requires: list[str], plugin: Path | None = None, reinstall: bool = False) -> Path:
    """The interpreter of an environment that holds ``requires`` and the package in the folder ``plugin``.

    Several processes may ask for the same one; the first makes it and the others wait.
    """
    root.parent.mkdir(parents=True, exist_ok=True)
    python = root / "bin" / "python"
    stamp = root / ".requires"
    sources = [path.read_text() for path in sorted(plugin.glob("*.*"))] if plugin else []
    wanted = "\n".join([sys.version, *requires, *sources])
    with locked(root.parent / f".{root.name}.lock"):
        if not reinstall and python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return python
        log(f"installing {root.name} into {root}")
        build = root / "build"
        journal = root.parent / f"{root.name}-pip.log"
        with open(journal, "wb") as out:

            def run(*argv: str) -> None:
                done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, check=False)
                if done.returncode:
                    raise SystemExit(f"rig: {root.name} cannot be installed:\n{journal.read_text()[-1000:]}")

            # Our own pip can install into another environment, which saves making one there (and Debian's
            # Python can only make one when its venv package is installed).
            borrowed = importlib.util.find_spec("pip") is not None
            run(sys.executable, "-m", "venv", "--clear", *(["--without-pip"] if borrowed else []), str(root))
            pip = [sys.executable, "-m", "pip", "--python", str(python)] if borrowed else [str(python), "-m", "pip"]
            pip += ["install", "--quiet", "--no-compile", *shlex.split(os.environ.get("RIG_PIP", ""))]
            run(*pip, *requires)
            if plugin:
                shutil.copytree(plugin, build)
                run(*pip, "--no-deps", str(build))
        stamp.write_text(wanted)
        return python
