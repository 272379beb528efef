"""`tfcli average`: several finetunes of one model, averaged into one."""
