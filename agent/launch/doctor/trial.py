"""What a folder really allows, tried in it: a program of its own, for this machine and for a compute node.

A process of its own, because a dead network filesystem blocks whoever touches it: then this one is killed. Standard
library only, any Python from 3.8 on, nothing imported from Roundtable: a node may see neither.

    python -IS trial.py FOLDER [--lock FILE] [--report FILE]
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

OTHER = (
    "import fcntl,os,sys\nd=os.open(sys.argv[1],os.O_RDWR)\n"
    "try: fcntl.flock(d,fcntl.LOCK_EX|fcntl.LOCK_NB)\nexcept OSError: sys.exit(3)"
)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--lock", help="a file that another machine has locked")
    parser.add_argument("--report", help="where the result goes; standard output when not given")
    options = parser.parse_args()
    try:
        found = try_folder(options.folder)
    except OSError as error:
        sys.stderr.write(f"{options.folder}: {error.strerror or error}\n")
        return 1
    if options.lock:
        found["locked_elsewhere"] = _locked(options.lock)
    text = json.dumps(found)
    if options.report:
        with open(options.report + ".part", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(options.report + ".part", options.report)
    else:
        sys.stdout.write(text + "\n")
    return 0


def try_folder(folder: str) -> dict[str, object]:
    """What works there; what failed is under "failed", by step, in the system's words. Nothing is left behind."""
    space = os.statvfs(folder)
    found: dict[str, object] = {
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "free_bytes": space.f_bavail * space.f_frsize,
        "inodes": space.f_files,
        "free_inodes": space.f_favail,
    }
    failed: dict[str, str] = {}
    found["failed"] = failed
    try:
        inside = tempfile.mkdtemp(prefix=".roundtable-doctor-", dir=folder)
    except OSError as error:
        failed["write"] = error.strerror or str(error)
        return found
    try:
        for name, step in (("write", _write), ("rename", _rename), ("link", _link), ("lock", _lock)):
            try:
                found.update(step(inside))
            except OSError as error:
                failed[name] = error.strerror or str(error)
                if name == "write":
                    break
    finally:
        shutil.rmtree(inside, ignore_errors=True)
    return found


def _write(inside: str) -> dict[str, object]:
    path = os.path.join(inside, "file")
    before = time.time()
    with open(path, "wb") as file:
        file.write(b"x" * 65536)
        file.flush()
        os.fsync(file.fileno())
    after = time.time()
    # The file server's clock against this machine's: outside of [before, after], within the clocks' coarseness.
    stamp = os.stat(path).st_mtime
    late = before - stamp if stamp < before else after - stamp if stamp > after else 0.0
    return {"skew_s": late}


def _rename(inside: str) -> dict[str, object]:
    target = os.path.join(inside, "target")
    with open(target, "wb"):
        pass
    os.replace(os.path.join(inside, "file"), target)
    return {}


def _link(inside: str) -> dict[str, object]:
    """A claim is a hard link that must fail where one stands."""
    target, link = os.path.join(inside, "target"), os.path.join(inside, "link")
    os.link(target, link)
    try:
        os.link(target, link)
    except FileExistsError:
        return {}
    raise OSError("a second link to the same name was not refused")


def _lock(inside: str) -> dict[str, object]:
    """flock, seen by another process of this machine."""
    descriptor = os.open(os.path.join(inside, "target"), os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        code = subprocess.call([sys.executable, "-IS", "-c", OTHER, os.path.join(inside, "target")])
    finally:
        os.close(descriptor)
    if code != 3:
        raise OSError("another process could take a lock that was held")
    return {}


def _locked(path: str) -> bool:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


if __name__ == "__main__":
    sys.exit(main())
