"""What may be said of two runs that are compared."""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, cast, get_args

from cyclopts import Group, Parameter, Token

from raybench.report import FLAT, RunOptions, completed

By = Literal["relative", "absolute"]
FailOn = Literal["slower", "faster", "inconclusive"]
FAIL_ON: Final[tuple[FailOn, ...]] = get_args(FailOn)


def _verdicts(_: Any, tokens: Sequence[Token]) -> tuple[FailOn, ...]:
    """Of each word, and of those within it by commas."""
    found = [part.strip() for token in tokens for part in token.value.split(",")]
    if unknown := [part for part in found if part not in FAIL_ON]:
        raise ValueError(f"{unknown[0]!r} is none of {', '.join(FAIL_ON)}")
    return cast(tuple[FailOn, ...], tuple(found))


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class DevicesOptions:
    """What is taken for granted of devices."""

    devices_alike: Annotated[
        bool,
        Parameter(
            group=Group("Of two runs", sort_key=2),
            help="devices differ no more than visits on one do, so that all count as one: judges though a single "
            "device stands against others",
        ),
    ] = False


@FLAT
@dataclasses.dataclass(frozen=True, kw_only=True)
class CompareOptions(DevicesOptions, RunOptions):
    """The options of ``raybench compare``."""

    fail_on: Annotated[
        tuple[FailOn, ...],
        Parameter(
            metavar="VERDICT",
            help=f"exit 1 if a deployment is that: {', '.join(FAIL_ON)}, several by commas or by repeating it; also if "
            "one cannot be judged, or a configuration that is complete in A is not in B",
            converter=_verdicts,
            completer=completed(lambda: FAIL_ON),
            show_choices=False,
        ),
    ] = ()
    each: bool = False
    """--fail-on looks at each configuration, not at the deployments' averages"""
    by: Annotated[
        By,
        Parameter(
            help="which change --fail-on and the sentences look at: relative to the plan's first reference, which a "
            "machine that changes speed between the runs does not touch; or absolute, which it does (default: relative)"
        ),
    ] = "relative"
    json: bool = False
    """everything as JSON"""
