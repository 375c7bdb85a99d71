"""What all assets show alike: owners, the pool of those that one run at a time may write, the code behind their rows,
how often they are to be looked at.

Not here: anything of a single asset, and what a materialization tells (`shown_days`, `shown_answers`,
`shown_inventories`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from types import CodeType

import dagster as dg

from cowrie_assets.warehouse.views import sql_file

OWNERS = ["team:honeypot"]
# Unpartitioned assets are written by one run at a time: a job backfill was seen to run them twice at once.
POOL = "one_writer"
MADE_BY = "made by"
_PACKAGE = Path(__file__).parents[1]
_LATE, _TOO_LATE = timedelta(hours=2), timedelta(hours=12)


def made_by(*files: str) -> Mapping[str, str]:
    """Metadata of a definition: the files that its rows come from, a query as `name.sql`, a module as
    `folder/name.py` of this package. `with_code` shows what is in them."""
    return {MADE_BY: ", ".join(files)}


def with_code(assets: dg.AssetsDefinition) -> dg.AssetsDefinition:
    """The same assets with links to their code, and with the text of their SQL, there before the first run.

    Links are paths on this machine, which the UI opens in an editor: these files are what runs. A link to a
    repository would name a branch that may hold something else, and Dagster's own `with_source_code_references` sees
    nothing of SQL, and of a function only the decorator around it. The SQL stands on the definition alone: in each
    materialization of a day it took more bytes than all else.

    Raises:
        FileNotFoundError: a file that `made_by` names is not there.
    """
    function = _function_of(assets)

    def face(spec: dg.AssetSpec) -> dg.AssetSpec:
        files = [_path(name) for name in str(spec.metadata.get(MADE_BY, "")).split(", ") if name]
        links: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
            _link(Path(function.co_filename), function.co_firstlineno),
            *(_link(file, 1) for file in files),
        ]
        queries = "\n\n".join(_as_code(file) for file in files if file.suffix == ".sql")
        return spec.replace_attributes(
            metadata={
                **spec.metadata,
                **({"sql": dg.MetadataValue.md(queries)} if queries else {}),
                "dagster/code_references": dg.CodeReferencesMetadataValue(code_references=links),
            }
        )

    return assets.map_asset_specs(face)


def looked_at_every(interval: timedelta, at_most: timedelta | None = None) -> dg.FreshnessPolicy:
    """For assets without days alone: a warning two hours after the next materialization was due, a failure ten hours
    later, or where the newest one is `at_most` old. Of a daily asset a backfill of an old day would pass for fresh;
    there the check `up_to_date` looks at the days themselves."""
    warn = interval + _LATE
    return dg.FreshnessPolicy.time_window(
        fail_window=max(at_most or interval + _TOO_LATE, warn + _LATE), warn_window=warn
    )


DAILY = looked_at_every(timedelta(days=1))


def _function_of(assets: dg.AssetsDefinition) -> CodeType:
    """The code of an asset's own function, below its decorators; of a graph the one that draws it."""
    node = assets.node_def
    if isinstance(node, dg.GraphDefinition):
        function = node.composition_fn
    else:
        function = getattr(assets.op.compute_fn, "decorated_fn", None)
    if function is None:
        raise TypeError(f"{assets.keys} is made by no function of its own, so that there is nothing to link to")
    code: CodeType = inspect.unwrap(function).__code__
    return code


def _path(name: str) -> Path:
    path = sql_file(name) if name.endswith(".sql") else _PACKAGE / name
    if not path.exists():
        raise FileNotFoundError(f"{name} is missing: the installation is incomplete")
    return path


def _link(path: Path, line: int) -> dg.LocalFileCodeReference:
    return dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=f"{path.parent.name}/{path.name}")


def _as_code(file: Path) -> str:
    return f"```sql\n-- sql/{file.name}\n{file.read_text(encoding='utf-8')}\n```"
