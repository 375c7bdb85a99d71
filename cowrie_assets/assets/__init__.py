"""The assets: one file per group, and beside them, free of Dagster, the work that each of them does."""
