"""From YAML text to a tree whose values have their position."""
