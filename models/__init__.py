"""The model core: layers -> blocks -> families. Imports nothing from the rest of tfcli."""
