"""The queue: which job runs, in a process of its own, and the events that watchers are told."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from penult_proto.errors import ErrorKind
from penult_proto.v1 import jobs_pb2 as pb
from penult_proto.v1.pipes_pb2 import FromWorker, JobOrder, ToWorker
from penult_server import pipes
from penult_server.errors import RegistryUnavailable, ServiceError
from penult_server.front.jobs.devices import DeviceSlots
from penult_server.front.jobs.ended import EndedJobs
from penult_server.front.jobs.products import Products
from penult_server.front.jobs.states import TrainingStates
from penult_server.front.observed.metrics import EVENTS_LOST
from penult_server.front.queries.imports import check_uploaded
from penult_server.front.queries.named_files import NamedFiles
from penult_server.front.queries.specs import Resolved, Resolver
from penult_server.front.queries.starts import head_of_start
from penult_server.front.registry_thread import Registry
from penult_server.front.users.quotas import Quotas
from penult_server.front.workers.job_workers import JobWorkers
from penult_server.front.workers.processes import Worker, log_tail, stop_process
from penult_server.front.workers.vitals import DRIVER_SILENT_SECONDS, SILENT_SECONDS, Vitals, end_when_dead
from penult_server.messages import error_from_proto, error_to_proto
from penult_server.notes import notes_to_proto
from penult_server.registry.cards import NOTHING, Given
from penult_server.registry.jobs import ENDED, Superseded
from penult_server.settings import Settings
from penult_server.status import translate
from penult_server.stores.uploads import ABANDONED_SECONDS, remove_uploads

MOST_DEATHS = 3
"""How often in a row, without getting further, the worker of a job may die (a crash, no memory) before it fails."""
CANCEL_GRACE = 10.0
"""Seconds a worker has to notice a cancellation."""
HEARTBEAT_SECONDS = 15.0
RETRY_SECONDS = 1.0
IN_HAND = (pb.JOB_STATE_RUNNING, pb.JOB_STATE_CANCELLING)
"""States of a job that has a worker."""

CANCEL = pipes.framed(ToWorker(cancel=True))

log = logging.getLogger("penult.jobs")


class JobQueue:
    """Runs queued jobs, fair between users, at most `max_running_jobs` at once and each on devices of its own."""

    def __init__(self, registry: Registry, settings: Settings, damaged: set[str], changed: Callable[[], None]) -> None:
        """`damaged`: digests of feature sets that a read has found damaged; mended ones are taken out. `changed` is
        called whenever a job has ended.
        """
        self._registry = registry
        self.quotas = Quotas(registry, settings)
        self._changed = changed
        # An embedded server may have been started by somebody who only looks.
        self._paused = settings.embedded
        self._submitting = asyncio.Lock()
        self._settings = settings
        self._files = NamedFiles(settings)
        self._resolver = Resolver(registry, settings.root, self._files)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, Worker] = {}
        self._watching: dict[str, asyncio.Task[None]] = {}
        """Whether the worker of a job hangs; one that is cancelled has its grace instead."""
        self._cancelled: set[str] = set()
        self._ended = EndedJobs()
        self._news = asyncio.Condition()
        self._work = asyncio.Event()
        self._scheduler: asyncio.Task[None] | None = None
        self._workers = JobWorkers(settings.root)
        self._states = TrainingStates(registry, settings.root)
        self._products = Products(registry, settings.root, damaged)
        self._devices = DeviceSlots(settings.job_devices, settings.extract_workers)
        self._stopping = False

    async def start(self) -> None:
        """Queue again the jobs that the last server left running, end those it was to cancel, then start.

        The queue of an embedded server waits for `resume`.
        """
        await self.take_back()
        await self._states.sweep()
        await self._remove_uploads()
        self._work.set()
        self._scheduler = asyncio.create_task(self._schedule())

    def resume(self) -> None:
        """Somebody wants work done: start the jobs that wait."""
        self._paused = False
        self._work.set()

    async def is_needed(self) -> bool:
        """Whether an embedded server must stay for a job that has not ended."""
        return not self._paused and await self._registry.run(self._registry.jobs.is_any_wanted)

    async def stop(self) -> None:
        """Stop the workers. Their jobs are queued again; what fails in that is done at the next start."""
        self._stopping = True
        if self._scheduler:
            self._scheduler.cancel()
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        self._running.clear()  # also of those that never came to run
        await self._workers.stop()
        with contextlib.suppress(RegistryUnavailable):
            await self.take_back()
        async with self._news:
            self._news.notify_all()

    async def take_back(self) -> None:
        """Settle the jobs that have lost their worker: running ones wait again, cancelling ones are cancelled."""
        found = await self._registry.run(self._registry.jobs.abandoned)
        for job in (one for one in found if one.id not in self._running):
            self._work.set()
            await self._settle(await self._registry.run_when_full(self._registry.jobs.requeue, job.id))

    def end_workers(self) -> None:
        """End every attempt, without a word to the registry, which another server may write by now."""
        for task in self._running.values():
            task.cancel()

    async def submit(
        self, spec: pb.JobSpec, request_id: str, given: Given = NOTHING, *, may_stop: bool = False
    ) -> pb.Job:
        """The job that does this work: the one that exists, or a new one. What is given is added to its card.

        An embedded server stays for it until it has ended, unless all who asked for it say that it `may_stop`.

        Raises ServiceError: what `Resolver.resolve` raises, REQUEST_ID_REUSED, QUEUE_FULL, QUOTA_EXCEEDED,
        SHUTTING_DOWN, and INVALID_ARGUMENT for a name where a job makes several things or one that has a
        name of its own.
        """
        check_nameable(spec, given)
        if self._stopping:
            raise ServiceError(ErrorKind.SHUTTING_DOWN, "the server is stopping; ask again when it is back")
        resolved = await self._resolver.resolve(spec, request_id)
        async with self._submitting:  # two equal requests at once must find each other
            equal = None if request_id else await self._registry.run(self._registry.jobs.find_equal, resolved.digest)
            if equal and not await self._products.are_there(equal):
                equal = None
            job = equal or await self._made(resolved, request_id, given, may_stop=may_stop)
        job = await self._want(job, may_stop=may_stop)
        if equal is None:
            return job
        await self._forget_uploads(job)  # those that came while the job ended
        return await self._described(job, given, is_new=False)

    async def check(self, spec: pb.JobSpec, request_id: str, given: Given) -> pb.Job:
        """The job that does this work, or one without an id; nothing is made. Raises what `submit` would, now."""
        check_nameable(spec, given)
        resolved = await self._resolver.resolve(spec, request_id)
        equal = await self._registry.run(self._registry.jobs.find_equal, resolved.digest)
        return equal or pb.Job(spec=resolved.spec)

    async def _made(self, resolved: Resolved, request_id: str, given: Given, *, may_stop: bool) -> pb.Job:
        """A new job, or the one that `request_id` has made."""
        await self.quotas.check_bytes()
        await asyncio.to_thread(check_uploaded, self._settings.root, resolved.spec)
        job = await self._registry.run(
            self._registry.jobs.create,
            resolved.spec,
            resolved.digest,
            request_id,
            self._settings.max_queued_jobs,
            may_stop=may_stop and self._settings.embedded,
            of_user=self.quotas.of_queue(),
        )
        if job.last_seq == 1:
            log.info("job %s waits for its turn", job.id, extra={"job": job.id})
        return await self._described(job, given, is_new=job.last_seq == 1)

    async def _want(self, job: pb.Job, *, may_stop: bool) -> pb.Job:
        """Somebody wants this job done, with a server that stays for it unless it `may_stop`."""
        if job.state in ENDED:
            return job
        self.resume()
        return job if may_stop or not job.may_stop else await self._registry.run(self._registry.jobs.keep, job.id)

    async def _described(self, job: pb.Job, given: Given, *, is_new: bool) -> pb.Job:
        """The same job, with what is given on its card and what there is to say of that."""
        notes = await self._registry.run(self._registry.catalog.describe_job, job, given, is_new=is_new)
        job.notes.extend(notes_to_proto(notes))
        return job

    async def cancel(self, job_id: str) -> pb.Job:
        """End a job; one that runs is cancelling until its worker has stopped, at its next step. May be called again.

        Of a job that has failed the training state is removed. Raises ServiceError (UNKNOWN_JOB).
        """
        job = await self._registry.run_when_full(self._registry.jobs.ask_to_cancel, job_id)
        if job.state == pb.JOB_STATE_CANCELLING and job_id not in self._cancelled:
            self._cancelled.add(job_id)
            process = self._processes.get(job_id)
            if process and process.stdin and not process.stdin.is_closing():
                self._watching[job_id].cancel()
                process.stdin.write(CANCEL)
                asyncio.get_running_loop().call_later(CANCEL_GRACE, _kill, process)
        elif job.state == pb.JOB_STATE_CANCELLED:
            await self._settle(job)
        elif job.state == pb.JOB_STATE_FAILED:
            await self._states.forget(job_id)
        self._work.set()  # the next one may have waited behind it for more devices
        await self._tell()
        self._changed()
        return job

    def log_of(self, job_id: str) -> Path:
        """Where what a job prints is written."""
        return self._settings.root / "logs" / f"job-{job_id}.log"

    async def watch(self, job_id: str, after_seq: int, *, may_stop: bool = False) -> AsyncIterator[pb.JobEvent]:
        """Events after `after_seq`, then new ones as they come, until the job has ended.

        Who watches a job wants it done: see `submit`.
        """
        await self._want(await self._registry.run(self._registry.jobs.get, job_id), may_stop=may_stop)
        while True:
            # The state is read before the events: an end that comes between is seen next time round.
            job = await self._registry.run(self._registry.jobs.get, job_id)
            for event in await self._registry.run(self._registry.jobs.events, job_id, after_seq):
                after_seq = event.seq
                yield event
            if job.state in ENDED and after_seq >= job.last_seq:
                return
            if self._stopping:
                raise ServiceError(ErrorKind.SHUTTING_DOWN, "the server is stopping; the job goes on when it is back")
            if after_seq >= job.last_seq and not await self._wait_for_news(job_id, after_seq):
                yield pb.JobEvent(heartbeat=True)

    async def _wait_for_news(self, job_id: str, after_seq: int) -> bool:
        async with self._news:
            latest = await self._registry.run(self._registry.jobs.get, job_id)
            if latest.last_seq > after_seq or self._stopping:
                return True
            try:
                await asyncio.wait_for(self._news.wait(), HEARTBEAT_SECONDS)
            except TimeoutError:
                return False
        return True

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

    async def _schedule(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            try:
                await self._start_waiting_jobs()
            except Exception:  # the queue must outlive a full disk: it says so and tries again
                log.exception("no job could be started; trying again")
                await asyncio.sleep(RETRY_SECONDS)
                self._work.set()

    async def _start_waiting_jobs(self) -> None:
        while not self._paused and len(self._running) < max(1, self._settings.max_running_jobs):
            job = await self._registry.run(self._registry.jobs.start_next, self._devices.fits)
            if job is None:
                return
            log.info("job %s starts, attempt %d", job.id, job.attempt, extra={"job": job.id})
            self._devices.take(job)
            self._running[job.id] = asyncio.create_task(self._run(job))
            await self._tell()

    async def _run(self, job: pb.Job) -> None:
        """One attempt at a job, whatever comes of it."""
        try:
            await self._attempt(job)
        except Superseded as error:
            log.warning("%s is over, or another has started: its worker is ended", error, extra={"job": job.id})
        except Exception as error:  # whatever it was, the job must not stay running for ever
            await self._fail(job, translate(error))
        finally:
            self._processes.pop(job.id, None)
            self._running.pop(job.id, None)
            self._devices.give_back(job.id)
            self._cancelled.discard(job.id)
            self._work.set()
            self._changed()
            with contextlib.suppress(asyncio.CancelledError):
                await self._tell()

    async def _fail(self, job: pb.Job, error: ServiceError) -> None:
        """Write down that an attempt failed, as soon as the registry can be written to."""
        reason = error_to_proto(await self._states.explained(job.id, error))
        while True:
            try:
                ended = await self._registry.run_when_full(self._registry.jobs.fail, job.id, reason, job.attempt)
            except RegistryUnavailable:
                log.exception("the failure of job %s cannot be written down; trying again", job.id)
                await asyncio.sleep(RETRY_SECONDS)
            except Superseded:
                log.warning("attempt %d at job %s is over: that it failed changes nothing", job.attempt, job.id)
                return
            else:
                await self._settle(ended)
                return

    async def _settle(self, job: pb.Job) -> None:
        """Remove what a job that has ended leaves: its training state, and the files that only it needed."""
        if job.state in ENDED:
            self._ended.note(job)
        await self._states.settle(job)
        await self._forget_uploads(job)

    async def _forget_uploads(self, job: pb.Job) -> None:
        """Remove the files of an import that has ended, unless another waits for the same."""
        if job.state in ENDED and job.spec.HasField("import_checkpoint"):
            await self._remove_uploads(of=job.spec.import_checkpoint.content)

    async def remove_abandoned_uploads(self) -> None:
        """Remove files that came long ago and that no job has asked for."""
        await self._remove_uploads(older_than=ABANDONED_SECONDS)

    async def _remove_uploads(self, *, of: str = "", older_than: float | None = None) -> None:
        """Remove uploaded files that no job waits for: those of one digest, or all."""
        async with self._submitting:  # no job that needs them may be made meanwhile
            waiting = await self._registry.run(self._registry.jobs.list, [pb.JOB_STATE_QUEUED, *IN_HAND], 2**31)
            needed = {job.spec.import_checkpoint.content for job in waiting}
            await asyncio.to_thread(remove_uploads, self._settings.root, needed, only=of, older_than=older_than)

    async def _attempt(self, job: pb.Job) -> None:
        resolved = await self._resolver.identify(job.spec)
        if not await self._registry.run(self._registry.jobs.is_of, job.id, resolved.digest):
            raise ServiceError(
                ErrorKind.DATASET_CHANGED,
                "the data or the pretrained weights changed while this job waited; ask for it again",
            )
        await self._states.adopt(job.id)
        log_file = self.log_of(job.id)
        order = JobOrder(
            job_id=job.id,
            root=str(self._settings.root),
            spec=resolved.spec,
            dataset_digest=resolved.dataset_digest,
            device=self._settings.device,
            log=str(log_file),
            devices=self._devices.of(job.id),
            extract_workers=self._settings.extract_workers,
            start_head=await head_of_start(resolved.spec.finetune, self._registry),
            data_roots=map(str, self._settings.data_roots),
            reads_everywhere=self._files.is_everywhere,
            engine=self._settings.engine,
            attempt=job.attempt,
        )
        needs_model = self._runs_model(resolved.spec)
        try:
            process = await self._workers.take(needs_model=needs_model)
        except ChildProcessError as error:
            log.error("job %s has no worker: %s", job.id, error)
            await self._ended_silently(job, None, self._workers.log)
            return
        self._processes[job.id] = process
        silent = DRIVER_SILENT_SECONDS if order.engine == "ray" else SILENT_SECONDS
        vitals = Vitals(time.monotonic(), silent)
        self._watching[job.id] = asyncio.create_task(end_when_dead(process, vitals, f"the worker of job {job.id}"))
        if job.id in self._cancelled:
            asyncio.get_running_loop().call_later(CANCEL_GRACE, _kill, process)
        try:
            if process.stdin is None or process.stdout is None:
                raise ServiceError(ErrorKind.INTERNAL, "a worker was started without its pipes")
            process.stdin.write(pipes.framed(ToWorker(job=order)))
            if job.id in self._cancelled:
                process.stdin.write(CANCEL)
            while (message := await pipes.receive_from(process.stdout, FromWorker)) is not None:
                if message.HasField("pulse"):
                    vitals.note(time.monotonic(), is_busy=False)
                    continue
                with vitals.set_aside():
                    if message.HasField("holds"):
                        # Superseded, where it is over: the worker waits for an answer until it is ended.
                        await self._registry.run(self._registry.jobs.check_held, job.id, job.attempt)
                        process.stdin.write(pipes.framed(ToWorker(held=message.holds)))
                    elif await self._receive(job, message):
                        return
        finally:
            self._watching.pop(job.id).cancel()
            await asyncio.shield(stop_process(process, grace=5))
        await self._ended_silently(job, process.returncode, log_file)

    def _runs_model(self, spec: pb.JobSpec) -> bool:
        """Whether the worker itself will: on a cluster other processes do, and it only waits for them."""
        kind = spec.WhichOneof("kind")
        return kind in ("import_checkpoint", "merge", "merge_curve", "merge_report") or (
            kind != "register_dataset" and self._settings.engine == "local"
        )

    async def _receive(self, job: pb.Job, message: FromWorker) -> bool:
        """Act on one message of the worker of an attempt; true when it was the last. Raises Superseded."""
        jobs, run, job_id, token = self._registry.jobs, self._registry.run, job.id, job.attempt
        kind = message.WhichOneof("kind")
        match kind:
            case "progress":
                await run(jobs.report, job_id, pb.JobEvent(progress=message.progress), token)
            case "metrics":
                await run(jobs.report, job_id, pb.JobEvent(metrics=message.metrics), token)
            case "saved":
                await run(jobs.note_saved, job_id, message.saved, token)
            case "checkpoint":
                await run(jobs.check_held, job_id, token)
                given = await self._products.asked_by(job_id)
                await run(self._registry.catalog.add_checkpoint, message.checkpoint, given)
                await run(jobs.report, job_id, pb.JobEvent(checkpoint=message.checkpoint.digest), token)
            case "needed":
                await run(jobs.check_held, job_id, token)
                await self._products.drop_unneeded(job_id, set(message.needed.digests))
            case "result":
                await run(jobs.check_held, job_id, token)
                await self._products.register(job_id, message.result)
                if message.result.HasField("run"):
                    kept = {one.digest for one in message.result.run.checkpoints}
                    await self._products.drop_unneeded(job_id, kept)
                await self._settle(await run(jobs.succeed, job_id, message.result, token))
            case "error":
                if message.error.kind == ErrorKind.CANCELLED:
                    await self._settle(await self._registry.run_when_full(jobs.cancel, job_id, token))
                else:
                    await self._fail(job, error_from_proto(message.error))
            case _:
                EVENTS_LOST.inc()
                log.error("job %s: a message of its worker is not understood: %s", job_id, kind)
        await self._tell()
        return kind in ("result", "error")

    async def _ended_silently(self, job: pb.Job, code: int | None, log_file: Path) -> None:
        """Deal with a worker that ended without a last message: cancelled by force, or dead."""
        job_id, token = job.id, job.attempt
        deaths = await self._registry.run(self._registry.jobs.count_death, job_id, token)
        if job_id in self._cancelled:
            await self._settle(await self._registry.run_when_full(self._registry.jobs.cancel, job_id, token))
            return
        if deaths < MOST_DEATHS:
            log.warning("the worker of job %s died (exit status %s); it is queued again", job_id, code)
            await self._settle(await self._registry.run(self._registry.jobs.requeue, job_id, token))
            return
        raise ServiceError(
            ErrorKind.WORKER_DIED,
            f"the worker of this job died {deaths} times without getting further, last with exit status {code} (-9 "
            f"usually means no memory left); its last words: {log_tail(log_file)}",
            exit_status=code,
        )


def check_nameable(spec: pb.JobSpec, given: Given) -> None:
    """Raise ServiceError (INVALID_ARGUMENT) for a name that no one thing would have."""
    if given.name and spec.WhichOneof("kind") not in ("finetune", "import_checkpoint", "merge"):
        what = "makes several feature sets: describe each" if spec.HasField("extract") else "names a dataset by itself"
        stores_nothing = spec.HasField("merge_curve") or spec.HasField("merge_report")
        what = "stores nothing that has a name" if stores_nothing else what
        raise ServiceError(
            ErrorKind.INVALID_ARGUMENT, f"a job of this kind {what}; leave the name {given.name!r} out", field="name"
        )


def _kill(process: Worker) -> None:
    if process.returncode is None:
        process.kill()
