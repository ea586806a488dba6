"""Run in an installed environment: imports each module in a fork of its own, and prints what is wrong as JSON.

Third-party packages that many modules share are imported before, so that a fork costs little.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
from typing import Any


def problem_of(module: str, asked: dict[str, Any]) -> str:
    """Why the module cannot be imported by itself, or which of our files come from elsewhere."""
    try:
        importlib.import_module(module)
    except BaseException as error:
        return f"{type(error).__name__}: {error}"
    outside = [
        name
        for name, loaded in sorted(sys.modules.items())
        if name.partition(".")[0] in asked["ours"]
        and getattr(loaded, "__file__", None)
        and not os.path.realpath(str(loaded.__file__)).startswith(asked["root"])
    ]
    return f"loads {outside} from outside" if outside else ""


def in_a_fork(module: str, asked: dict[str, Any]) -> str:
    """`problem_of`, without a trace in this process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, problem_of(module, asked).encode()[:2000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        message = stream.read().decode(errors="replace")
    return message if os.waitpid(child, 0)[1] == 0 else "ended the process"


def main() -> None:
    """Reads what is asked from the first argument."""
    asked = json.loads(sys.argv[1])
    sys.path[:0] = asked["first_on_path"]
    for name in asked["shared"]:
        importlib.import_module(name)
    # A collection in a fork would touch, and so copy, all that was loaded before.
    gc.disable()
    gc.freeze()
    found = {module: in_a_fork(module, asked) for module in asked["modules"]}
    json.dump({module: message for module, message in found.items() if message}, sys.stdout)


if __name__ == "__main__":
    main()
