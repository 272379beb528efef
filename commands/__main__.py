"""`python -m tfcli.commands`, for launchers that want a module, such as torchrun."""

from tfcli.commands.app import main

main()
