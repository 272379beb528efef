"""`tfcli report`: finished steps put into one page, with plots and the run record."""
