"""Audio to features and waves, and the tokenizers of the models that write down speech."""
