"""The definition document: model, parsing, paths, hash."""
