"""From a run's measured latencies and memory to advice: merge, separate, several adapters on one base, or full.

`docs/decide.md` states the rule with its formulas, sources and limits; names here are those used there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from raybench.analysis import Tables, open_input
from raybench.decide.advice import Advice, Comparison, WayResult, advice_to_dict
from raybench.decide.capacity import WAYS
from raybench.decide.carried import ServedNeeds
from raybench.decide.choice import best_of, may_be_better
from raybench.decide.evidence import FOR_A_P95, Evidence
from raybench.decide.forms import forms_of
from raybench.decide.headline import reasons, sentence
from raybench.decide.needs import Needs, parse_bytes, parse_positive, parse_seconds, parse_share, parse_tasks
from raybench.decide.next_step import next_command, whole_plan
from raybench.decide.options import DecideOptions, StatedNeeds, required
from raybench.decide.report import deciding_numbers, render
from raybench.decide.served import decide_served, render_served, served_to_dict
from raybench.decide.telling import PAIRS, Pair, comparisons_of
from raybench.records import InputError, count, in_percent
from raybench.report import open_console, round_seconds, write_json
from raybench.store import Location, StoreError, read_description


def decide(tables: Tables, needs: Needs) -> Advice:
    """The way that needs the fewest GPUs, ties broken in the order of `WAYS`; `docs/decide.md` has the rule.

    Where the run lacks what that needs, the advice has no way, and ``missing`` says what it lacks.
    """
    evidence = Evidence(tables)
    compared = comparisons_of(tables, evidence.rows) if not evidence.lacks else {}
    measured = evidence.measured() if not evidence.lacks else []
    missing = tuple(lack.what for lack in evidence.lacks)
    ways = tuple(one.result(needs) for one in measured)
    best = best_of(ways)
    others = () if best is None else may_be_better(best, measured, needs, compared)
    virtue = next((way.virtue for way in WAYS if best is not None and way.name == best.way), "")
    return Advice(
        run=tables.root.name,
        needs={**dataclasses.asdict(needs), "switches": needs.switch_share},
        measured_on=evidence.devices,
        measured_tasks=evidence.tasks,
        way=None if best is None else best.way,
        gpus=None if best is None else best.gpus,
        gpus_least=None if best is None else best.gpus_least,
        gpus_most=None if best is None else best.gpus_most,
        may_be_better=others,
        settled=not missing and not others and all(way.is_settled for way in ([best] if best else ways)),
        sentence=sentence(needs, best, ways, missing, others, round_seconds(tables)),
        because=reasons(best, ways, virtue),
        ways=ways,
        comparisons=_telling(best, compared),
        numbers=deciding_numbers(best, ways),
        forms=forms_of(tables),
        cautions=cautions(evidence, needs, ways, compared),
        missing=missing,
        next_command=next_command(tables, evidence.lacks, best, ways),
    )


def cautions(
    evidence: Evidence, needs: Needs, ways: Sequence[WayResult], compared: Mapping[Pair, Comparison]
) -> tuple[str, ...]:
    """What the reader should know before they act on the advice."""
    if evidence.lacks:
        return ()
    tasks = ", ".join(evidence.tasks)
    found = [f"Measured on {evidence.devices}, {tasks}: it holds for such devices and requests."]
    if evidence.left_out:
        batches = ", ".join(map(str, evidence.left_out))
        found.append(f"Configurations in batches of {batches} are left out: this is for one prompt at a time.")
    if evidence.output_tokens is not None:
        found.append(
            f"A request is one prompt and all that follows ({evidence.output_tokens:.4g} tokens on average); a server "
            "that batches carries more."
        )
    if evidence.on_cpu:
        found.append("A CPU measured this; memory is its process's and no GPU's. Measure on the GPU you mean.")
    held = evidence.rows["multi_lora"]["adapters"]
    several = next(way for way in ways if way.way == "multi_adapter")
    if several.feasible and min(needs.tasks, several.tasks_per_gpu or 0) > held:
        found.append(
            f"At most {count(held, 'adapter')} shared a base in this run; more are taken to be as fast as those."
        )
    loads = evidence.rows["lora_separate"]["adapter_loads"]
    if loads < FOR_A_P95 and needs.switch_share:
        # The longest of n lies below the true p95 where all n do.
        found.append(
            f"A swap is planned with the longest of {count(loads, 'adapter load')}: a p95 needs {FOR_A_P95}. With "
            f"{in_percent(0.95**loads, '.0f')} probability the true p95 is longer."
        )
    if unsure := [f"{c.strategy} against {c.reference}" for c in compared.values() if c.verdict == "inconclusive"]:
        found.append(
            f"Not told apart by mean wall time: {', '.join(unsure)}. Each way is planned with its own numbers all the "
            "same. More rounds (--rounds) in a new run may tell."
        )
    if never := [" against ".join(pair) for pair in PAIRS if pair not in compared]:
        found.append(
            f"Never compared, nor with a common reference: {', '.join(never)}. A plan that compares them, such as "
            f"{whole_plan(evidence.tables)}, may tell."
        )
    if needs.switches is None and needs.tasks > 1:
        found.append("No --switches given: every request is taken to ask for another task than the one before.")
    return tuple(found)


def _telling(best: WayResult | None, compared: Mapping[Pair, Comparison]) -> tuple[Comparison, ...]:
    """The chosen strategy against each other one; without a chosen one, all pairs."""
    if best is None:
        return tuple(compared.values())
    return tuple(c.seen_from(best.strategy) for pair, c in compared.items() if best.strategy in pair)


def needs_of(run: Location, options: StatedNeeds) -> Needs:
    """The needs that a command line states. Raises InputError."""
    for option, value in (("--ttft", options.ttft), ("--tpot", options.tpot)):
        if value is not None:
            raise InputError(f"{option}: {run} is no run of servers; give --slo-p95 in its place")
    tasks, gpu_memory, rate = required(options)
    if options.slo_p95 is None:
        raise InputError("--slo-p95: missing; say within which time 95 % of requests are to be answered, as 40ms")
    return Needs(
        tasks=parse_tasks(tasks, "--tasks"),
        gpu_memory_bytes=parse_bytes(gpu_memory, "--gpu-memory"),
        slo_p95_s=parse_seconds(options.slo_p95, "--slo-p95"),
        requests_per_second=parse_positive(rate, "--requests-per-second"),
        switches=None if options.switches is None else parse_share(options.switches, "--switches"),
        gpu_price=None if options.gpu_price is None else parse_positive(options.gpu_price, "--gpu-price"),
    )


def is_served(run: Location) -> bool:
    """Whether servers served in a run; False too for what is none, which is told where it is opened."""
    try:
        return bool(read_description(run).plan.servers)
    except (StoreError, InputError):
        return False


def served_needs_of(run: Location, options: StatedNeeds) -> ServedNeeds:
    """The needs that a command line states of servers. Raises InputError."""
    for option, value in (("--slo-p95", options.slo_p95), ("--switches", options.switches)):
        if value is not None:
            raise InputError(
                f"{option}: {run} is a run of servers, which are asked for other limits; give --ttft, "
                "--tpot or both in its place"
            )
    tasks, gpu_memory, rate = required(options)
    return ServedNeeds(
        tasks=parse_tasks(tasks, "--tasks"),
        gpu_memory_bytes=parse_bytes(gpu_memory, "--gpu-memory"),
        requests_per_second=parse_positive(rate, "--requests-per-second"),
        ttft_s=None if options.ttft is None else parse_seconds(options.ttft, "--ttft"),
        tpot_s=None if options.tpot is None else parse_seconds(options.tpot, "--tpot"),
        gpu_price=None if options.gpu_price is None else parse_positive(options.gpu_price, "--gpu-price"),
    )


def run(where: Location, options: DecideOptions) -> int:
    """Print the advice. Exit code: 0 answered (also where no way is feasible), 1 where the run lacks what it needs.

    Raises InputError for bad options, before the run's samples are read, and what `Tables` raises.
    """
    if is_served(where):
        served_needs = served_needs_of(where, options)
        answer = decide_served(open_input(where, Tables), served_needs)
        if options.json:
            write_json(served_to_dict(answer))
        else:
            render_served(answer, open_console())
        return 0
    needs = needs_of(where, options)
    # A damaged run is bad input: 1 says that a sound one lacks something.
    advice = decide(open_input(where, Tables), needs)
    if options.json:
        write_json(advice_to_dict(advice))
    else:
        render(advice, open_console())
    return 1 if advice.missing else 0
