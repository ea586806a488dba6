"""Actions: the value, the registry, packs and the ports that handlers use."""
