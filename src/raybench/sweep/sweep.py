"""A sweep: a plan is run from start to end, and its tables are printed."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from raybench.analysis import LEAST_ROUNDS, HalfwidthRule, Tables, Views, write_derived, write_views
from raybench.cluster import Agenda, Cluster, Job, in_ray_job
from raybench.deploy import all_traits
from raybench.model import (
    GlueLengths,
    ModelSpec,
    Recipe,
    Workload,
    glue_tasks,
    read_texts,
    resolve_model,
    text_tokenizer,
)
from raybench.plan import Overrides, WorkloadFile, load_plan
from raybench.records import INFRASTRUCTURE, FailureKind, InputError, RaybenchError
from raybench.report import print_line, print_next_commands, print_summary
from raybench.store import (
    DESCRIPTION,
    Location,
    RunStore,
    StoreError,
    check_writable,
    exists_already,
    open_storage,
    run_ids,
    validate_run_id,
)
from raybench.sweep.describe import describe, differences
from raybench.sweep.live import Live, State
from raybench.sweep.progress import RunProgress, duration
from raybench.sweep.recorder import Recorder
from raybench.sweep.stop_signals import Stopped, StopSignals
from raybench.visit import Died, Failed, Finished, Message, Samples, VisitSpec

_DEFAULTS = {"plan": "rq2", "design": "paired", "workers_per_node": 1}


class Sweep:
    def __init__(self, options: argparse.Namespace, console: Console, signals: StopSignals) -> None:
        self.options, self.console, self.signals = options, console, signals
        self.started = time.monotonic()
        overrides = Overrides(
            design=options.design,
            rounds=options.rounds,
            requests=options.requests,
            order_seed=options.order_seed,
            until_halfwidth=options.until_halfwidth,
            max_rounds=options.max_rounds,
            accelerator_type=options.accelerator_type,
        )
        self.plan, self.texts = load_plan(options.plan, all_traits(), glue_tasks(), overrides)
        if self.plan.until_halfwidth is not None and self.plan.rounds < LEAST_ROUNDS:
            raise InputError(
                f"--until-halfwidth cannot be met in {self.plan.rounds} rounds: allow {LEAST_ROUNDS} or more"
            )
        self.results: Location = options.results or default_results()
        if in_ray_job() and isinstance(self.results, Path) and not self.results.is_absolute():
            raise InputError(
                f"--results {self.results}: a Ray job's own folder is thrown away with it; give s3://BUCKET/PREFIX, "
                "gs://BUCKET/PREFIX or an absolute path"
            )
        if options.model is not None:
            resolve_model(options.model)
        if options.run_id is not None:
            validate_run_id(options.run_id)
        check_writable(self.results)
        self.run_id, self.resuming = self._choose_run()
        self.root = self.results / self.run_id
        if not self.resuming and self._is_run(self.run_id):
            raise exists_already(self.root)

    def run(self) -> int:
        self.say(
            f"{self.plan.name}: {len(self.plan.configurations)} configurations, {len(self.plan.blocks)} blocks x "
            f"{self.plan.rounds} rounds, "
            f"{self.plan.expected_samples():,} samples. Starting Ray."
        )
        with Cluster(
            self.options.address,
            self.plan.accelerator_type,
            workers=self.options.workers,
            workers_per_node=self.options.workers_per_node,
            wait_s=self.options.wait,
        ) as cluster:
            self.signals.install()  # again: ray.init replaces them
            self.signals.check()
            model = resolve_model(self.options.model or ("micro" if cluster.device_kind == "cpu" else "tinyllama-1.1b"))
            recipe = Recipe.of(model.name, self.plan) if model.kind == "preset_files" else Recipe("", (), ())
            job = Job(self.plan, self.workload(model), model, recipe, cluster.device_kind)
            visits = len(self.plan.blocks) * self.plan.rounds
            workers = cluster.start(model, recipe, visits, self.signals.check, self.say)
            names = ", ".join(sorted({w["device_name"] for w in workers}))
            self.say(f"{len(workers)} worker(s) on {names}; model {model.name}. Results: {self.root}")
            ready = time.monotonic()
            with self.store(job, workers) as store:
                write_views(store.root)
                self.measure(cluster, job, store)
        measured = time.monotonic()
        tables = Tables(self.root)
        write_derived(tables)
        self.console.print()
        print_summary(tables, self.console)
        self.say(self.time_by_part(tables, ready - self.started, measured - ready))
        print_next_commands(tables.root, self.console)
        complete = tables.rows("SELECT bool_and(complete) AS complete FROM completeness")[0]["complete"]
        return 0 if complete else 1

    def say(self, text: str) -> None:
        print_line(self.console, text)

    def _choose_run(self) -> tuple[str, bool]:
        """The run's name, and whether it is gone on with. What can be refused is, before Ray is started."""
        named = self.options.run_id
        new = f"{self.plan.name}-{datetime.datetime.now().strftime('%Y%m%d-%H%M%S')}"
        if not self.options.resume:
            return named or new, False
        run_id = named or self._newest_run()
        if run_id is None or (self.options.new_run and not self._is_run(run_id)):
            if not self.options.new_run:
                raise InputError(f"{self.results}: no run of plan {self.plan.name} to resume; name one by --run-id")
            return named or new, False
        with RunStore.resume(self.results / run_id) as store:
            self._say_taken_over(store)
            model = resolve_model(self.options.model) if self.options.model else ModelSpec(**store.description["model"])
            described = describe(run_id, self.plan, self.workload(model), model, [], all_traits())
            if self.options.new_run and (differing := differences(store.description, described)):
                self.say(f"{store.root} was begun otherwise ({'; '.join(differing[:5])}): a new run begins, {new}.")
                return new, False
            self._check_same(store, described)
            store.verify()
        return run_id, True

    def _is_run(self, run_id: str) -> bool:
        return open_storage(self.results / run_id).exists(DESCRIPTION)

    def _newest_run(self) -> str | None:
        begun = {}
        for run_id in run_ids(self.results):
            # Not ours, or damaged: not the one.
            with contextlib.suppress(RaybenchError, ValueError, KeyError, TypeError):
                description = json.loads(open_storage(self.results / run_id).read(DESCRIPTION))
                if description["plan"]["name"] == self.plan.name:
                    begun[str(description["created_at"])] = run_id
        return begun[max(begun)] if begun else None

    def workload(self, model: ModelSpec) -> Workload:
        texts: WorkloadFile | None = self.texts
        if texts is None:
            return GlueLengths(self.plan.workload_seed)
        return read_texts(
            texts.texts,
            self.plan.tasks(),
            text_tokenizer(texts.tokenizer, model),
            text_column=texts.text_column,
            task_column=texts.task_column,
            max_tokens=texts.max_tokens,
            seed=self.plan.workload_seed,
        )

    def store(self, job: Job, workers: list[dict[str, object]]) -> RunStore:
        description = describe(self.run_id, self.plan, job.workload, job.model, workers, all_traits())
        if not self.resuming:
            return RunStore.create(self.results, self.run_id, description)
        store = RunStore.resume(self.root)
        self._say_taken_over(store)
        try:
            self._check_same(store, description)
        except BaseException:
            store.close()
            raise
        return store

    def _say_taken_over(self, store: RunStore) -> None:
        if store.notice is not None:
            self.say(f"{store.root}: {store.notice}")

    def _check_same(self, store: RunStore, description: dict[str, object]) -> None:
        if differing := differences(store.description, description):
            raise InputError(
                f"{store.root}: cannot be resumed, it was begun otherwise: {'; '.join(differing[:5])}; "
                "give the same options and versions, or begin a new run by --new-run"
            )

    def measure(self, cluster: Cluster, job: Job, store: RunStore) -> None:
        failed = {r["configuration"] for r in store.read("failures").to_pylist() if r["kind"] not in INFRASTRUCTURE}
        served = [(row["block"], row["device"]) for row in store.read("visits").to_pylist()]
        agenda = Agenda(job, store.committed(), failed, served)
        if self.resuming:
            again = f"; {len(failed)} failed configuration(s) are not tried again" if failed else ""
            self.say(f"Resuming: {len(store.committed())} visits are done, {len(agenda)} are left{again}.")
        recorder = Recorder(store)
        timed = store.timed_samples()
        live = Live(store)
        state: State = "failed"

        def check() -> None:
            live.beat(cluster.state(), agenda.waiting())
            self.signals.check()

        with RunProgress(self.console, self.plan.expected_samples(), self.plan.rounds, timed) as progress:
            try:
                for last_round in self.looks(store):
                    agenda.last_round = last_round
                    for spec, message in cluster.run(agenda, check, progress.note):
                        recorder.add(spec, message)
                        _react(spec, message, agenda, recorder, progress)
                    recorder.commit()
                planned = len(self.plan.blocks) * (agenda.last_round + 1)
                state = "complete" if len(store.committed()) >= planned and not agenda.failed else "incomplete"
            except Stopped:
                state = "stopped"
                raise
            finally:
                if state in ("stopped", "failed"):
                    # What failed may have been the commit itself: that error is the one to be told.
                    with contextlib.suppress(*[StoreError] if state == "failed" else []):
                        recorder.commit()
                    progress.note(f"{state}; {len(store.committed())} visits are kept. Go on: {self.resume_command()}")
                live.end(state)

    def looks(self, store: RunStore) -> Iterator[int]:
        """The last round to measure before looking at the intervals again; one look, at the end, for a fixed length.

        With --until-halfwidth, rounds are looked at one by one, by a rule whose errors do not grow with the looks.
        """
        if self.plan.until_halfwidth is None:
            yield self.plan.rounds - 1
            return
        begun, said_of = 1 + max((round_index for _, round_index in store.committed()), default=0), 1
        for rounds in range(begun, self.plan.rounds + 1):
            yield rounds - 1
            verdicts = Views(self.root).verdicts
            widths = verdicts.widest_claims()
            rule = HalfwidthRule(self.plan.until_halfwidth, self.plan.rounds, verdicts.devices)
            decision = rule.decide(widths)
            widest = f"{widths[-1]:.2%}" if widths and widths[-1] < 10 else "not known yet"
            if rule.devices != said_of and (why := rule.out_of_reach()) is not None:
                self.say(why)
            said_of = rule.devices
            confirming = decision == "continue" and widths and rule.is_narrow(rounds, widths[-1])
            found = "narrow so far, to be confirmed by further rounds" if confirming else decision
            self.say(f"After {rounds} rounds the widest half-width is {widest} (target {rule.target:.2%}): {found}.")
            if decision != "continue":
                return

    def resume_command(self) -> str:
        """This sweep's own command line, to go on with it."""
        words = ["python", "-m", "raybench.sweep", "--results", str(self.results), "--run-id", self.run_id, "--resume"]
        for name in (
            "plan",
            "model",
            "rounds",
            "requests",
            "design",
            "order_seed",
            "until_halfwidth",
            "max_rounds",
            "address",
            "accelerator_type",
            "workers",
            "workers_per_node",
            "wait",
        ):
            value = getattr(self.options, name)
            if value is not None and value != _DEFAULTS.get(name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def time_by_part(self, tables: Tables, start_s: float, run_s: float) -> str:
        row = tables.rows("FROM run_time")[0]
        load, warm, timing = row["load_s"], row["warmup_s"], row["timing_s"]
        total = time.monotonic() - self.started
        workers = max(1, row["devices"])
        rest = max(0.0, run_s - (load + warm + timing) / workers)
        return (
            f"Time: {duration(total)} (start {duration(start_s)}; per worker loading {duration(load / workers)}, "
            f"warm-ups {duration(warm / workers)}, timing {duration(timing / workers)}; the rest {duration(rest)}). "
            f"Peak memory of a visit: {row['peak_mb']:,.0f} MB."
        )


def _react(spec: VisitSpec, message: Message, agenda: Agenda, recorder: Recorder, progress: RunProgress) -> None:
    """What a message means for what comes next, and for who watches."""
    match message:
        case Samples(batch):
            phases, names = batch.column("phase").to_pylist(), batch.column("configuration").to_pylist()
            progress.samples(phases.count("timed"), spec.block, spec.round, names[-1])
        case Failed(configuration, kind, text):
            agenda.drop(configuration)
            progress.note(f"{configuration} failed in {spec.visit} ({kind}): {text}")
        case Died(configuration, kind, text):
            what = f"{spec.visit} ({kind}): {text}"
            if configuration is not None and kind not in INFRASTRUCTURE:
                _give_up(spec, configuration, kind, text, agenda, recorder)
                progress.note(f"{configuration} failed in {what}; the others go on")
            elif agenda.again(spec, lost=True):
                progress.note(f"lost {what}; it is measured again")
            elif configuration is not None:
                _give_up(spec, configuration, kind, f"{spec.attempt + 1} times: {text}", agenda, recorder)
                progress.note(f"{configuration} failed in {what}, {spec.attempt + 1} times; the others go on")
            else:
                for c in spec.configurations:
                    recorder.fail(spec, c.name, kind, f"lost {spec.attempt + 1} times: {text}")
                    if kind not in INFRASTRUCTURE:
                        agenda.drop(c.name)
                progress.note(f"lost {what}, {spec.attempt + 1} times; it is given up")
        case Finished(row):
            agenda.learn(spec.block, row["total_ns"])


def _give_up(
    spec: VisitSpec, configuration: str, kind: FailureKind, text: str, agenda: Agenda, recorder: Recorder
) -> None:
    """``configuration`` failed; its visit is measured again without it."""
    agenda.drop(configuration)
    recorder.fail(spec, configuration, kind, text)
    agenda.again(spec, lost=False)


def default_results() -> Path:
    """``data/runs`` here; in a Ray job, whose folder is thrown away, ``~/raybench/runs`` of the driver's node."""
    return Path.home() / "raybench" / "runs" if in_ray_job() else Path("data", "runs")
