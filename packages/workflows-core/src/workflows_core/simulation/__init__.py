"""Trying a definition without any server: the interpreter itself, in virtual time."""
