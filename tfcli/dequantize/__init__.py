"""`tfcli dequantize`: packed weights back to plain ones."""
