"""What no document, value or event may have: some characters, a name twice in one object, too many levels."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""U+0000 and halves of surrogate pairs: a JSON text can spell them, PostgreSQL's `jsonb` refuses them."""


MAX_PARSED_DEPTH: Final = 100
"""Levels of lists and objects in a value from outside."""


class NameTwice(ValueError):
    """Indicates that an object of a JSON text has a name twice."""


def each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of a JSON text, for `json.loads(…, object_pairs_hook=…)`.

    Raises:
        NameTwice: With a sentence.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        counts = Counter(name for name, _ in pairs)
        twice = next(name for name, count in counts.items() if count > 1)
        raise NameTwice(f"the name {twice!r} is twice in one object; the parser would drop one of them")
    return found
