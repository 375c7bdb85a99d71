#!/bin/sh
# What every container does first: the database's password goes from its secret file to where libpq looks for it, and
# Dagster's home gets the production dagster.yaml. Then the command takes this script's place.
set -eu

# A password file instead of a variable: health checks, which do not come through here, find it as well, and the
# password is in no environment. libpq reads it only if nobody else can.
if [ -n "${COWRIE_DATABASE_PASSWORD_FILE:-}" ]; then
    if ! password=$(cat "$COWRIE_DATABASE_PASSWORD_FILE") || [ -z "$password" ]; then
        echo "entrypoint: $COWRIE_DATABASE_PASSWORD_FILE is empty, missing or not readable for user $(id -u):" \
            "write the password into the secret's file on the host, and make it readable (chmod 644 secrets/*)" >&2
        exit 1
    fi
    rm -f "$PGPASSFILE"
    (umask 077 && printf '%s\n' "$password" | sed -e 's/[\\:]/\\&/g' -e 's/^/*:*:*:*:/' >"$PGPASSFILE")
    unset password
fi

# Without it the image is the single-host default: everything embedded, Dagster's own storage in SQLite.
if [ -n "${DAGSTER_POSTGRES_URL:-}" ]; then
    mkdir -p "$DAGSTER_HOME"
    # Several containers start at the same time on one volume: each replaces the file as a whole.
    cp "$(dirname "$0")/dagster.yaml" "$DAGSTER_HOME/.dagster.yaml.$(hostname).$$"
    mv -f "$DAGSTER_HOME/.dagster.yaml.$(hostname).$$" "$DAGSTER_HOME/dagster.yaml"
fi

exec "$@"
