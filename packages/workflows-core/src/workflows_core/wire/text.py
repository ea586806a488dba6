"""The characters that no text of a document, a value or an event may have."""

from __future__ import annotations

import re

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
"""U+0000 and halves of surrogate pairs: a JSON text can spell them, PostgreSQL's `jsonb` refuses them."""
