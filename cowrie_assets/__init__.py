"""Cowrie honeypot logs to trustworthy infrastructure intelligence, as Dagster assets."""
