"""Cowrie's own language: log files, events, sessions. Pure Python: no Dagster, no database."""
