"""`tfcli compose`: a language model and encoders of other media, put together into one model."""
