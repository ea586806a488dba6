"""Run in an installed environment: starts a service as its console script does, and tells what it has loaded.

Arguments: the service's module, a file to wait for, a file to answer into, and what to do before the start.
"""

from __future__ import annotations

import pathlib
import sys
import threading
import time

MODULE, ASK, ANSWER, FIRST = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4]


def tell() -> None:
    """Top-level modules of the process, once it is asked; names with an underscore are a platform's own."""
    while not ASK.exists():
        time.sleep(0.05)
    tops = {name.partition(".")[0] for name in sys.modules} - set(sys.stdlib_module_names)
    found = {name for name in tops if not name.startswith("_")}
    draft = ANSWER.with_suffix(".new")
    draft.write_text("\n".join(sorted(found)), encoding="utf-8")
    draft.rename(ANSWER)


threading.Thread(target=tell, daemon=True).start()
sys.argv = [MODULE, "run"]
exec(FIRST)
exec(f"from {MODULE}.start import main\nmain()")
