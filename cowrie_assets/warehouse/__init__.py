"""The database: tables, migrations, bulk load, the embedded server."""
