"""AI inference: one protocol, an OpenAI-compatible provider, a deterministic local one, and the action `ai.infer`."""
