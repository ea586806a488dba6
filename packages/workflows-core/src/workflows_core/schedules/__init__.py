"""Schedules: what is wanted, the Temporal Schedule that follows it, and what a firing does."""
