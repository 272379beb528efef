"""Adapters: small trained changes of a frozen model, each beside the module that it changes."""
