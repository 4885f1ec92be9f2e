"""What a visit's message means for what comes next, and for who watches."""

from __future__ import annotations

from raybench.analysis import load_cautions
from raybench.cluster import Agenda
from raybench.records import INFRASTRUCTURE, FailureKind
from raybench.report import told_failure
from raybench.sweep.progress import RunProgress
from raybench.sweep.recorder import Recorder
from raybench.visit import Died, Failed, Finished, Loaded, Message, Samples, VisitSpec


def react(spec: VisitSpec, message: Message, agenda: Agenda, recorder: Recorder, progress: RunProgress) -> None:
    """Take what failed out of the visits to come, put what was lost back in, and say so."""
    match message:
        case Samples(batch):
            phases, names = batch.column("phase").to_pylist(), batch.column("configuration").to_pylist()
            progress.samples(phases.count("timed"), spec.block, spec.round, names[-1])
        case Loaded(row):
            for name, caution in load_cautions([row], served=bool(spec.servers)):
                if name is None:  # of every load of that model
                    progress.note_once(f"Caution: {caution.message}")
        case Failed(configuration, kind, text):
            agenda.drop(configuration)
            progress.note(f"{configuration} failed in {spec.visit} ({kind}): {progress.once(told_failure(text))}")
        case Died(configuration, kind, text):
            _react_to_death(spec, configuration, kind, text, agenda, recorder, progress)
        case Finished(row):
            agenda.learn(spec.block, row["total_ns"])


def _react_to_death(
    spec: VisitSpec,
    configuration: str | None,
    kind: FailureKind,
    text: str,
    agenda: Agenda,
    recorder: Recorder,
    progress: RunProgress,
) -> None:
    what, tries = f"{spec.visit} ({kind}): {told_failure(text)}", spec.attempt + 1
    if configuration is not None and kind not in INFRASTRUCTURE:
        _give_up(spec, configuration, kind, text, agenda, recorder)
        progress.note(f"{configuration} failed in {what}; the others go on")
    elif agenda.again(spec, lost=True):
        progress.note(f"lost {what}; it is measured again")
    elif configuration is not None:
        _give_up(spec, configuration, kind, f"{tries} times: {text}", agenda, recorder)
        progress.note(f"{configuration} failed in {what}, {tries} times; the others go on")
    else:
        for c in spec.configurations:
            recorder.fail(spec, c.name, kind, f"lost {tries} times: {text}")
            if kind not in INFRASTRUCTURE:
                agenda.drop(c.name)
        progress.note(f"lost {what}, {tries} times; it is given up")


def _give_up(
    spec: VisitSpec, configuration: str, kind: FailureKind, text: str, agenda: Agenda, recorder: Recorder
) -> None:
    """``configuration`` failed; its visit is measured again without it."""
    agenda.drop(configuration)
    recorder.fail(spec, configuration, kind, text)
    agenda.again(spec, lost=False)
