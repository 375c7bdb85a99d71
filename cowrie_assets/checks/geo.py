"""The geo files' age: whether the builds that serve are new enough to tell whose an address is.

Lives here: one check of the asset `geo_databases`. Not here: fetching them. It warns: the last good copy, or none,
serves, and the assets behind it complete.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import dagster as dg

from cowrie_assets.checks.thresholds import Thresholds, length_in_words
from cowrie_assets.checks.verdict import Verdict, evaluation
from cowrie_assets.resources import GeoFiles
from cowrie_assets.upstreams.geoip import GeoFileError

_CURE = (
    "set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY (free account at maxmind.com); without them DB-IP Lite is fetched, "
    "unless [services.dbip] enabled = false or COWRIE_OFFLINE stands against it"
)


def judge(geo_files: GeoFiles, now: datetime, oldest: timedelta) -> Verdict:
    """Whether both files are there and new enough, in words."""
    said, good = [], True
    numbers: dict[str, int] = {}
    for kind, opened in (("city", geo_files.open_city), ("asn", geo_files.open_asn)):
        try:
            with opened() as file:
                if file is None:
                    good = False
                    said.append(f"there is no {kind} file")
                    continue
                age = now - file.built_at
                good = good and age.days <= oldest.days
                numbers[f"{kind} file, days old"] = age.days
                said.append(f"the {kind} file is {file.kind} of {file.built_at:%Y-%m-%d}, {age.days} days old")
        except GeoFileError as error:
            good = False
            said.append(f"the {kind} file cannot be read: {error}")
    words = f"{'; '.join(said)}.".capitalize()
    return Verdict(good, words if good else f"{words} To have current ones, {_CURE}.", numbers)


def geo_checks(thresholds: Thresholds) -> dg.AssetChecksDefinition:
    oldest = thresholds.geo_files_age
    threshold = f"both there, and at most {length_in_words(oldest)} old"

    @dg.multi_asset_check(
        specs=[
            dg.AssetCheckSpec("is_current", asset="geo_databases", description=f"The two geo files are {threshold}.")
        ],
        can_subset=True,
    )
    def ages_of_geo_files(
        context: dg.AssetCheckExecutionContext, geo_files: GeoFiles
    ) -> Iterable[dg.AssetCheckEvaluation]:
        verdict = judge(geo_files, datetime.now(UTC), oldest)
        for key in context.selected_asset_check_keys:
            yield evaluation(key, verdict, threshold=threshold)

    return ages_of_geo_files
