"""One file a subcommand: flags -> spec -> a call into tfcli/ -> what the user sees."""
