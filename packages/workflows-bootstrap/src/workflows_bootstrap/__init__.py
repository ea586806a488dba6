"""Application-only registrations on top of workflows-core: AI inference, AI actions, e-mail sending."""
