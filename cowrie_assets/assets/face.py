"""What all assets show alike: owners, the pool of those that one run at a time may write, the SQL behind a number.

Not here: anything of a single asset.
"""

import dagster as dg

from cowrie_assets.warehouse.views import sql_file

OWNERS = ["team:honeypot"]
# Unpartitioned assets are written by one run at a time: a job backfill was seen to run them twice at once.
POOL = "one_writer"


def sql_metadata(name: str) -> dg.MetadataValue:
    """A file of `sql/`, to be shown beside what it computed."""
    return dg.MetadataValue.md(f"```sql\n{sql_file(name).read_text(encoding='utf-8')}\n```")
