"""The PostgreSQL schema `temporal_worker`: numbered SQL files and what applies them."""
