"""How a deployment's model runs: operation by operation, compiled, or as captured graphs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from raybench.deploy.strategy import Deployment
from raybench.plan import Configuration
from raybench.records import RaybenchError


def executed(deployment: Deployment, configuration: Configuration) -> Deployment:
    """``deployment`` as its configuration has it run; what is compiled or captured is so once it is called.

    Raises RaybenchError where a strategy has a forward of its own, which need not be the model's, and where the model
    cannot be run so.
    """
    if configuration.execution == "eager":
        return deployment
    if deployment.forward is not deployment.model or deployment.opener is not None:
        raise RaybenchError(
            f"{configuration.name}: {configuration.strategy} has a forward of its own, which cannot be run by "
            f"{configuration.execution}; measure it with execution eager"
        )
    try:
        return dataclasses.replace(deployment, forward=_forward(configuration, deployment))
    except RaybenchError as error:
        raise RaybenchError(f"{configuration.name}: {error}") from error


def _forward(configuration: Configuration, deployment: Deployment) -> Callable[..., Any]:
    # Imported here: plans are checked by what imports this file, without torch.
    model = deployment.model
    if configuration.execution == "cudagraph":
        from raybench.deploy.capturing import captured

        return captured(model)
    from raybench.deploy.compiling import compiled, compiled_by_length

    # PEFT's own switch changes attributes of its modules; every other form writes into tensors.
    fixed = deployment.switch is None or not hasattr(model, "peft_config")
    return compiled(model, fixed) if configuration.execution == "compile" else compiled_by_length(model, fixed)
