"""The provider that the settings name."""

from __future__ import annotations

from workflows_bootstrap.inference.local import LocalProvider
from workflows_bootstrap.inference.openai_compatible import OpenAiCompatibleProvider
from workflows_bootstrap.inference.provider import InferenceAnswer, InferenceProvider, InferenceRequest
from workflows_bootstrap.inference.settings import InferenceSettings, ProviderKind
from workflows_core.actions.ports import SecretProvider
from workflows_core.errors import ActionFailed, ErrorCategory


class NoProvider:
    """What answers where nothing is configured: an error that says what to set."""

    async def infer(self, request: InferenceRequest) -> InferenceAnswer:
        """Refuses.

        Raises:
            ActionFailed: `AI_NOT_CONFIGURED`.
        """
        message = "this installation has no AI provider: set WORKFLOW_AI_PROVIDER of workflow-server"
        raise ActionFailed(message, category=ErrorCategory.ACTION, code="AI_NOT_CONFIGURED")

    async def close(self) -> None:
        """Nothing to give back."""


def inference_provider(settings: InferenceSettings, secrets: SecretProvider) -> InferenceProvider:
    """Builds the provider; it connects on first use."""
    match settings.provider:
        case ProviderKind.LOCAL:
            return LocalProvider()
        case ProviderKind.OPENAI_COMPATIBLE:
            return OpenAiCompatibleProvider(settings, secrets)
    return NoProvider()
