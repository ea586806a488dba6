"""What tests share: throw-away databases on the session's servers."""
