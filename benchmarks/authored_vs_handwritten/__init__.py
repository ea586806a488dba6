"""The same actions by hand and authored, interleaved in one process against one dev server."""
