"""The geo files' age: whether the builds that serve are new enough to tell whose an address is.

Lives here: one check of the asset `geo_databases`. Not here: fetching them. It warns: the last good copy, or none,
serves, and the assets behind it complete.
"""

from datetime import UTC, datetime

import dagster as dg

from cowrie_assets.resources import GeoFiles
from cowrie_assets.upstreams.geoip import OLD_DAYS, GeoFileError

_CURE = (
    "set MAXMIND_ACCOUNT_ID and MAXMIND_LICENSE_KEY (free account at maxmind.com); without them DB-IP Lite is fetched, "
    "unless [services.dbip] enabled = false or COWRIE_OFFLINE stands against it"
)


def judge(geo_files: GeoFiles, now: datetime) -> tuple[bool, str]:
    """Whether both files are there and new enough, in words."""
    said, good = [], True
    for kind, opened in (("city", geo_files.open_city), ("asn", geo_files.open_asn)):
        try:
            with opened() as file:
                if file is None:
                    good = False
                    said.append(f"there is no {kind} file")
                    continue
                age = (now - file.built_at).days
                good = good and age <= OLD_DAYS
                said.append(f"the {kind} file is {file.kind} of {file.built_at:%Y-%m-%d}, {age} days old")
        except GeoFileError as error:
            good = False
            said.append(f"the {kind} file cannot be read: {error}")
    words = f"{'; '.join(said)}.".capitalize()
    return good, words if good else f"{words} To have current ones, {_CURE}."


def geo_checks() -> list[dg.AssetChecksDefinition]:
    return [is_current]


@dg.asset_check(
    asset="geo_databases", name="is_current", description=f"Both geo files are there, and at most {OLD_DAYS} days old."
)
def is_current(geo_files: GeoFiles) -> dg.AssetCheckResult:
    passed, words = judge(geo_files, datetime.now(UTC))
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, description=words)
