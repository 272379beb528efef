"""Recipe files that run as they are: `tfcli recipe list`."""
