"""Names and message shapes that cross process boundaries; see docs/wire-contract.md."""
