"""The command line.

Lives here: its entry and the exit codes (0 done, 1 failed, 2 wrong use, 3 coverage below the gate). Not here: the
commands (`working`, `telling`), and what they do.
"""

from __future__ import annotations

import signal
import sys

from cowrie_assets.assets.ingestion import NothingToLoad
from cowrie_assets.cli import telling, working
from cowrie_assets.cli.frame import Interrupted, app, errors
from cowrie_assets.report.escaping import visible
from cowrie_assets.settings import SettingsError
from cowrie_assets.upstreams.geoip import GeoFileError
from cowrie_assets.warehouse.database import WarehouseError
from cowrie_assets.warehouse.embedded import EmbeddedServerError

# Importing them is what makes their commands known.
__all__ = ["app", "main", "telling", "working"]


def main() -> None:
    """Run a command; what goes wrong for a known reason is said in a sentence, without a traceback."""
    # Ended by SIGTERM as by Ctrl-C: the embedded database stops when its last user leaves in an orderly way.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except (SettingsError, WarehouseError, EmbeddedServerError, NothingToLoad, GeoFileError) as error:
        # A message may hold the name of a file, and that is whatever somebody called it.
        told = "\n".join(visible(line) for line in str(error).splitlines())
        errors.print(f"cowrie-assets: {told}", style="bold red", markup=False, soft_wrap=True)
        sys.exit(1)
    except Interrupted:
        errors.print("cowrie-assets: stopped; run it again to go on where it was", markup=False)
        sys.exit(130)
