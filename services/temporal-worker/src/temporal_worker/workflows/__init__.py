"""Workflow classes and what they may load; nothing is imported here."""
