"""``python -m raybench.sweep``: run a plan and print its tables."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from rich.console import Console

from raybench import plan_file, report, strategies
from raybench.agenda import Agenda, Job
from raybench.cluster import Cluster, in_ray_job
from raybench.describe import describe, differences
from raybench.models import ModelSpec, resolve
from raybench.plan_file import Overrides, WorkloadFile
from raybench.prepare import Recipe, text_tokenizer
from raybench.progress import RunProgress, duration
from raybench.recorder import Recorder
from raybench.records import InputError, RaybenchError
from raybench.store import RunStore, validate_run_id
from raybench.tables import Tables, write_derived, write_views
from raybench.visit import Died, Failed, Finished, Message, Samples, VisitSpec
from raybench.workload import GlueLengths, Workload, glue_tasks, read_texts

_DEFAULTS = {"plan": "rq2", "design": "paired"}


class Stopped(Exception):  # noqa: N818  not an error: a person or a scheduler asked
    """A signal asked the driver to stop."""

    def __init__(self, signum: int) -> None:
        super().__init__(signal.Signals(signum).name)
        self.signum = signum


def parser() -> argparse.ArgumentParser:
    """The command line of a sweep."""
    p = argparse.ArgumentParser(prog="python -m raybench.sweep", description="Run a plan and print its tables.")
    add_arguments(p)
    return p


def add_arguments(p: argparse.ArgumentParser) -> None:
    """What a sweep can be told; also that of ``raybench sweep``."""
    p.add_argument("--plan", default="rq2", metavar="NAME|FILE.toml", help="a shipped plan or a file (default: rq2)")
    p.add_argument("--results", type=Path, default=None, metavar="DIR", help="where runs are kept (default: data/runs)")
    p.add_argument("--run-id", metavar="ID", help="the run's name (default: plan and time)")
    p.add_argument("--model", metavar="PRESET|PATH|HUB-ID", help="default: micro on a CPU, tinyllama-1.1b on a GPU")
    p.add_argument("--rounds", type=_count, metavar="N", help="visits of each block")
    p.add_argument("--requests", type=_count, metavar="N", help="requests of a configuration in a round")
    p.add_argument("--design", choices=("paired", "independent"), default="paired", help="default: paired")
    p.add_argument("--order-seed", type=_seed, metavar="N", help="draws the order of turns")
    p.add_argument("--resume", action="store_true", help="go on with a run (--run-id, or the newest of the plan)")
    p.add_argument("--address", metavar="ADDR", help="a Ray cluster to join (default: Ray is started here)")
    p.add_argument("--accelerator-type", metavar="TYPE", help="use only GPUs of this type, as Ray names it (L4)")


def _count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000_000:
        raise argparse.ArgumentTypeError("expected a number from 1 to 1000000")
    return value


def _seed(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 2**62:
        raise argparse.ArgumentTypeError("expected a number from 0 to 2^62")
    return value


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 complete, 1 something failed or is missing, 2 bad input, 128 + n stopped by signal n."""
    return run(parser().parse_args(argv))


def run(options: argparse.Namespace) -> int:
    """Run a sweep, with one line on standard error for what went wrong."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        with _signals():
            return _Sweep(options, console).run()
    except RaybenchError as error:
        print(f"raybench: {error}", file=sys.stderr)
        return error.exit_code
    except Stopped as stopped:
        return 128 + stopped.signum


class _Sweep:
    def __init__(self, options: argparse.Namespace, console: Console) -> None:
        self.options, self.console = options, console
        self.started = time.monotonic()
        overrides = Overrides(
            options.design, options.rounds, options.requests, options.order_seed, options.accelerator_type
        )
        self.plan, self.texts = plan_file.load(options.plan, strategies.all_traits(), glue_tasks(), overrides)
        self.results = options.results or default_results()
        self.run_id = validate_run_id(options.run_id) if options.run_id else self._choose_run_id()
        self.root = self.results / self.run_id
        if options.resume:
            self._check_resumable()
        elif (self.root / "run.json").exists():
            raise InputError(f"{self.root}: exists already; go on with it by --resume, or choose another --run-id")
        if options.model:
            resolve(options.model)

    def run(self) -> int:
        count = len(self.plan.configurations)
        self.say(
            f"{self.plan.name}: {count} configurations, {len(self.plan.blocks)} blocks x {self.plan.rounds} rounds, "
            f"{self.plan.expected_samples():,} samples. Starting Ray."
        )
        with Cluster(self.options.address, self.plan.accelerator_type) as cluster:
            _install_handlers()  # ray.init replaces them
            model = resolve(self.options.model or ("micro" if cluster.device_kind == "cpu" else "tinyllama-1.1b"))
            recipe = Recipe.of(model.name, self.plan) if model.kind == "preset_files" else Recipe("", (), ())
            job = Job(self.plan, self.workload(model), model, recipe, cluster.device_kind)
            workers = cluster.start(model, recipe)
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
        report.summary(tables, self.console)
        self.say(self.time_by_part(tables, ready - self.started, measured - ready))
        report.next_commands(tables.root, self.console)
        complete = tables.rows("SELECT bool_and(complete) AS complete FROM completeness")[0]["complete"]
        return 0 if complete else 1

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _choose_run_id(self) -> str:
        if not self.options.resume:
            return f"{self.plan.name}-{datetime.datetime.now().strftime('%Y%m%d-%H%M%S')}"
        runs = sorted(p.parent for p in self.results.glob(f"{self.plan.name}-*/run.json"))
        if not runs:
            raise InputError(f"{self.results}: no run of plan {self.plan.name} to resume; name one by --run-id")
        return runs[-1].name

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
        description = describe(self.run_id, self.plan, job.workload, job.model, workers, strategies.all_traits())
        if not self.options.resume:
            return RunStore.create(self.results, self.run_id, description)
        store = RunStore.resume(self.root)
        try:
            self._check_same(store, description)
            store.verify()
        except BaseException:
            store.close()
            raise
        return store

    def _check_resumable(self) -> None:
        """Refuse what can be refused before Ray is started: another driver, another plan, other versions."""
        with RunStore.resume(self.root) as store:
            model = resolve(self.options.model) if self.options.model else ModelSpec(**store.description["model"])
            described = describe(self.run_id, self.plan, self.workload(model), model, [], strategies.all_traits())
            self._check_same(store, described)

    def _check_same(self, store: RunStore, description: dict[str, object]) -> None:
        if differing := differences(store.description, description):
            raise InputError(
                f"{self.root}: cannot be resumed, it was begun otherwise: {'; '.join(differing[:5])}; "
                "give the same options and versions, or begin a new run without --resume"
            )

    def measure(self, cluster: Cluster, job: Job, store: RunStore) -> None:
        failed = set(store.read("failures")["configuration"].to_pylist())
        agenda = Agenda(job, store.committed(), failed)
        if self.options.resume:
            self.say(f"Resuming: {len(store.committed())} visits are done, {len(agenda)} are left.")
        recorder = Recorder(store)
        timed = store.timed_samples()
        with RunProgress(self.console, self.plan.expected_samples(), self.plan.rounds, timed) as progress:
            try:
                for spec, message in cluster.run(agenda.next, job.model, job.recipe):
                    recorder.add(spec, message)
                    _react(spec, message, agenda, recorder, progress)
            except (Stopped, KeyboardInterrupt) as stop:
                recorder.commit()
                signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
                progress.note(f"stopped; {len(store.committed())} visits are kept. Go on: {self.resume_command()}")
                raise Stopped(signum) from None
            recorder.commit()

    def resume_command(self) -> str:
        """This sweep's own command line, to go on with it."""
        words = ["python", "-m", "raybench.sweep", "--results", str(self.results), "--run-id", self.run_id, "--resume"]
        for name in ("plan", "model", "rounds", "requests", "design", "order_seed", "address", "accelerator_type"):
            value = getattr(self.options, name)
            if value is not None and value != _DEFAULTS.get(name):
                words += [f"--{name.replace('_', '-')}", str(value)]
        return shlex.join(words)

    def time_by_part(self, tables: Tables, start_s: float, run_s: float) -> str:
        row = tables.rows(
            "SELECT sum(load_ns) / 1e9 AS load, sum(warmup_ns) / 1e9 AS warm, sum(timing_ns) / 1e9 AS timing, "
            "max(process_peak_bytes) / 1e6 AS peak, count(DISTINCT device || host) AS devices FROM visits"
        )[0]
        load, warm, timing = (row[k] or 0.0 for k in ("load", "warm", "timing"))
        total = time.monotonic() - self.started
        workers = max(1, row["devices"])
        rest = max(0.0, run_s - (load + warm + timing) / workers)
        return (
            f"Time: {duration(total)} (start {duration(start_s)}; per worker loading {duration(load / workers)}, "
            f"warm-ups {duration(warm / workers)}, timing {duration(timing / workers)}; the rest {duration(rest)}). "
            f"Peak memory of a visit: {row['peak'] or 0:,.0f} MB."
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
            if configuration is not None:
                agenda.drop(configuration)
                recorder.fail(spec, configuration, kind, text)
                agenda.again(spec, lost=False)
                progress.note(f"{configuration} failed in {spec.visit} ({kind}): {text}; the others go on")
            elif agenda.again(spec, lost=True):
                progress.note(f"{spec.visit} was lost ({kind}): {text}; it is measured again")
            else:
                for c in spec.configurations:
                    agenda.drop(c.name)
                    recorder.fail(spec, c.name, kind, f"lost {spec.attempt + 1} times: {text}")
                progress.note(f"{spec.visit} was lost {spec.attempt + 1} times ({kind}): {text}; it is given up")
        case Finished():
            pass


def default_results() -> Path:
    """``data/runs`` here; in a Ray job, whose folder is thrown away, ``~/raybench/runs`` of the driver's node."""
    return Path.home() / "raybench" / "runs" if in_ray_job() else Path("data", "runs")


def _install_handlers() -> None:
    def stop(signum: int, frame: FrameType | None) -> None:
        raise Stopped(signum)

    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, stop)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Stop in order on SIGTERM and Ctrl-C: what is finished is committed first."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGTERM, signal.SIGINT)}
    _install_handlers()
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    sys.exit(main())
