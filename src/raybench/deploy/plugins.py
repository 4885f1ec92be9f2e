"""Strategies from outside: classes that installed distributions hand out as entry points of one group.

A plugin is known by the name of its entry point, which is that of its strategy. What is behind it is imported when
a plan or a visit uses it and not before: that may be slow, and may fail.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import re
from collections.abc import Mapping
from typing import Final

from raybench.deploy.strategy import Strategy
from raybench.records import InputError, StrategyTraits, count

GROUP: Final = "raybench.strategies"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_MOST_ADAPTERS = 10_000

Provider = importlib.metadata.EntryPoint
Providers = Mapping[str, tuple[Provider, ...]]
"""By the strategy's name all that hand one out under it."""


def providers() -> Providers:
    """What is installed here, nothing of it imported."""
    found: dict[str, tuple[Provider, ...]] = {}
    for provider in importlib.metadata.entry_points(group=GROUP):
        found[provider.name] = (*found.get(provider.name, ()), provider)
    return found


def told(provider: Provider) -> str:
    """How errors begin: the strategy, the distribution that it is of, and its entry point."""
    return f"strategy {provider.name}: {_source(provider)} (entry point {provider.name} = {provider.value})"


def load(name: str, known: Providers) -> tuple[type[Strategy], str]:
    """Import the strategy ``name``; the class and the distribution with its version.

    Raises InputError with the distribution and the entry point where none or several have it, where it does not
    import or is no strategy, and where its traits are not sound.
    """
    found = known.get(name, ())
    if not found:
        raise InputError(f"strategy {name}: not installed here; install the distribution that has it")
    if len(found) > 1:
        raise InputError(f"{told(found[0])} and {_source(found[1])} both have that name: uninstall one of them")
    (provider,) = found
    try:
        cls = provider.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001  foreign code raises anything
        raise InputError(
            f"{told(provider)} does not import: {type(error).__name__}: {error}; mend or uninstall it"
        ) from None
    if (wrong := _wrong(name, cls)) is not None:
        raise InputError(f"{told(provider)} {wrong}")
    return cls, _source(provider)


def _source(provider: Provider) -> str:
    distribution = provider.dist
    return "an unnamed distribution" if distribution is None else f"{distribution.name} {distribution.version}"


def _wrong(name: str, cls: object) -> str | None:
    """What of a plugin's class is not as it must be; None where all is."""
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        return "is no strategy: it must be a class that derives from raybench.deploy.Strategy"
    if inspect.isabstract(cls):
        return f"has no {', '.join(sorted(cls.__abstractmethods__))}: define it"
    traits = getattr(cls, "traits", None)
    if not isinstance(traits, StrategyTraits):
        return f"has traits {str(traits)[:60]!r}: they must be a raybench.deploy.StrategyTraits"
    if traits.name != name or not _NAME.fullmatch(name):
        return f"has traits.name {str(traits.name)[:60]!r}: it must be that of the entry point, of [A-Za-z0-9._-]"
    if not isinstance(traits.label, str) or not 0 < len(traits.label) <= 100:
        return f"has traits.label {str(traits.label)[:60]!r}: it must be a text of 1 to 100 characters"
    low, high = traits.min_adapters, traits.max_adapters
    if type(low) is not int or type(high) is not int or not 0 <= low <= high <= _MOST_ADAPTERS:
        return f"takes {low} to {high} adapters: it must be from 0 to {_MOST_ADAPTERS}, the lesser number first"
    flags = {
        "traits.mixes": traits.mixes,
        "traits.unquantized": traits.unquantized,
        "reproduces_adapters": cls.reproduces_adapters,
        "adapter_alone": cls.adapter_alone,
    }
    for flag, value in flags.items():
        if not isinstance(value, bool):
            return f"has {flag} {str(value)[:60]!r}: it must be True or False"
    forms = traits.forms
    if not isinstance(forms, tuple) or not forms or not all(isinstance(form, str) and form for form in forms):
        return f"has traits.forms {str(forms)[:60]!r}: they must be names, the usual first"
    if cls.adapter_alone and (low, high) != (1, 1):
        return f"has adapter_alone and takes {low} to {high} adapters: one alone is 1"
    if traits.mixes and high < 2:
        return f"has traits.mixes and takes at most {count(high, 'adapter')}: to mix takes 2"
    return None
