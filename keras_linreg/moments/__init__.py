"""From rows of a design to moments."""
