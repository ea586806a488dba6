"""Working hours, holidays and time zones: pure calendar arithmetic without dependencies."""
