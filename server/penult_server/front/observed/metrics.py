"""What is counted while the server runs; what is asked only when somebody looks is in `front/outside/gauges.py`.

Labels have few values, all known beforehand: a method of the protocol, a status, an error kind. Never anything that a
request says.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics

disable_created_metrics()
COUNTED = CollectorRegistry()
"""The metrics of this process."""
ProcessCollector(registry=COUNTED)

BUCKETS = (0.002, 0.005, 0.02, 0.05, 0.2, 0.5, 2.0, 10.0, 60.0, 600.0)
"""Seconds."""
JOB_BUCKETS = (1.0, 10.0, 60.0, 600.0, 3_600.0, 21_600.0, 86_400.0)

REQUESTS = Counter("penult_requests_total", "Calls that have ended.", ("method", "code", "kind"), registry=COUNTED)
USER_REQUESTS = Counter(
    "penult_user_requests_total",
    "Calls that have ended, by user; only with --metrics-by-user.",
    ("user", "code"),
    registry=COUNTED,
)
REQUEST_SECONDS = Histogram(
    "penult_request_seconds", "From a call's first byte to its end.", ("method",), buckets=BUCKETS, registry=COUNTED
)
QUEUE_SECONDS = Histogram(
    "penult_queue_seconds",
    "What a call waited: for a slot, for the compute worker, for the device or its batch.",
    ("method",),
    buckets=BUCKETS,
    registry=COUNTED,
)
IN_FLIGHT = Gauge("penult_requests_in_flight", "Calls that have not ended.", ("method",), registry=COUNTED)
ANSWERS = Counter(
    "penult_answers_total",
    "Answers to queries by where they came from: stored, shared with an equal query, computed.",
    ("service", "source"),
    registry=COUNTED,
)
REFUSALS = Counter("penult_refusals_total", "Calls that were refused, by error kind.", ("reason",), registry=COUNTED)
JOB_SECONDS = Histogram(
    "penult_job_seconds",
    "From a job's submission to its end.",
    ("kind", "outcome"),
    buckets=JOB_BUCKETS,
    registry=COUNTED,
)
WORKER_STARTS = Counter(
    "penult_worker_starts_total",
    "Processes that were started: reason start (first, or for a job), died (the last one ended by "
    "itself) or replaced (the last one hung and was ended).",
    ("worker", "reason"),
    registry=COUNTED,
)
STORE_CORRUPT = Counter(
    "penult_store_corrupt_total", "Answers that damaged stored data prevented.", ("service",), registry=COUNTED
)
REGISTRY_SECONDS = Histogram(
    "penult_registry_seconds",
    "Time on the registry's thread, by whether something was written.",
    ("operation",),
    buckets=(0.0005, 0.002, 0.005, 0.02, 0.05, 0.2, 0.5, 2.0, 10.0),
    registry=COUNTED,
)
EVENTS_LOST = Counter(
    "penult_events_lost_total", "Messages of job workers that could not be used; must be 0.", registry=COUNTED
)
AUDIT_ERRORS = Counter(
    "penult_audit_errors_total", "Lines of the audit that could not be written; must be 0.", registry=COUNTED
)
