"""Starting an ended run again: from a step, keeping what came before it, or from the beginning."""
