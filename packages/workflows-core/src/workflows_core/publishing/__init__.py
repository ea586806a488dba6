"""Drafts and published versions of definitions."""
