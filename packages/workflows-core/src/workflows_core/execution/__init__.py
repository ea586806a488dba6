"""Runs on Temporal: the thin workflow class, the activities, the sandbox. Import the modules by name."""
