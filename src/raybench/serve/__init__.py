"""Model servers as people run them: started, asked under a load, measured, and ended."""

from typing import TYPE_CHECKING

from raybench.handed_out import names_of

if TYPE_CHECKING:
    from raybench.serve.answers import Answer, answer_of
    from raybench.serve.arrivals import gamma_arrivals, poisson_arrivals, trace_arrivals
    from raybench.serve.checkpoints import Checkpoints
    from raybench.serve.command_preset import CommandPreset
    from raybench.serve.connection import connect, fetch
    from raybench.serve.endpoint import Endpoint, endpoint_of
    from raybench.serve.engine_python import find_python, versions_in
    from raybench.serve.exchange import Limits, NoConnectionError, Received
    from raybench.serve.family import Memory
    from raybench.serve.fine_timers import run_on_time
    from raybench.serve.gguf_files import check_gguf, gguf_adapter, gguf_model
    from raybench.serve.load import Load, Outcome, closed_loop, open_loop
    from raybench.serve.one_stream import OneStream
    from raybench.serve.openai_api import Asked
    from raybench.serve.ports import LOOPBACK, free_port, new_key, on_free_port
    from raybench.serve.presets import (
        PRESETS,
        RunningServer,
        check_started,
        preset_for,
        preset_of,
        running,
        settings_for,
    )
    from raybench.serve.reached import Reached, reach, reach_at
    from raybench.serve.served import EngineSettings, Preset, Served
    from raybench.serve.server_errors import ServerError, how_it_ended
    from raybench.serve.server_process import Command, ServerProcess
else:
    __getattr__ = names_of(__name__)

__all__ = [
    "LOOPBACK",
    "PRESETS",
    "Answer",
    "Asked",
    "Checkpoints",
    "Command",
    "CommandPreset",
    "Endpoint",
    "EngineSettings",
    "Limits",
    "Load",
    "Memory",
    "NoConnectionError",
    "OneStream",
    "Outcome",
    "Preset",
    "Reached",
    "Received",
    "RunningServer",
    "Served",
    "ServerError",
    "ServerProcess",
    "answer_of",
    "check_gguf",
    "check_started",
    "closed_loop",
    "connect",
    "endpoint_of",
    "fetch",
    "find_python",
    "free_port",
    "gamma_arrivals",
    "gguf_adapter",
    "gguf_model",
    "how_it_ended",
    "new_key",
    "on_free_port",
    "open_loop",
    "poisson_arrivals",
    "preset_for",
    "preset_of",
    "reach",
    "reach_at",
    "run_on_time",
    "running",
    "settings_for",
    "trace_arrivals",
    "versions_in",
]
