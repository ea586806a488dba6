"""The `workflows` command line of operators and authors, and the migrations of the authored schema."""
