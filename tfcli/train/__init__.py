"""`tfcli train`: one training loop; what differs between runs is handed to it."""
