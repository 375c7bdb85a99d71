"""`python -m cowrie_assets` is the command `cowrie-assets`."""

from cowrie_assets.cli import main

main()
