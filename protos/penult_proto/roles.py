"""What the user of a token may do: every RPC, and every kind of job, by the least role that may ask for it."""

from enum import StrEnum


class Role(StrEnum):
    """Each may what those before it may."""

    READER = "reader"
    """Look, and have what is stored."""
    RUNNER = "runner"
    """Compute, upload, and run jobs within the quotas; cancel and delete what is one's own."""
    ADMIN = "admin"
    """Register data of the server's disk, import models, delete anything."""

    def includes(self, other: "Role") -> bool:
        """Whether this role may what `other` may."""
        return _RANKS[self] >= _RANKS[other]


_RANKS = {role: rank for rank, role in enumerate(Role)}

METHOD_ROLES: dict[str, dict[str, Role]] = {
    "penult.v1.CatalogService": {
        "Describe": Role.RUNNER,
        "GetHead": Role.READER,
        "GetResult": Role.READER,
        "ListResults": Role.READER,
    },
    "penult.v1.CheckpointService": {
        "GetCheckpoint": Role.READER,
        "ListCheckpoints": Role.READER,
        "ReadCheckpoint": Role.READER,
        "UploadFiles": Role.ADMIN,
    },
    "penult.v1.DatasetService": {
        "GetDataset": Role.READER,
        "ListDatasets": Role.READER,
        "ReadExamples": Role.READER,
    },
    # What is computed here is stored: a reader may have it where it is there already.
    "penult.v1.DiagnosticService": {
        "ComputeInfluence": Role.READER,
        "Diagnose": Role.READER,
        "ListDiagnostics": Role.READER,
    },
    "penult.v1.FeatureService": {
        "GetFeatureSet": Role.READER,
        "ListFeatureSets": Role.READER,
        "ReadFeatures": Role.READER,
        "UploadFeatures": Role.RUNNER,
    },
    # What is computed here is stored: a reader may have it where it is there already.
    "penult.v1.GroupingService": {
        "AssignGroups": Role.READER,
        "DiscoverGroups": Role.READER,
        "GetGrouping": Role.READER,
        "ListGroupings": Role.READER,
        "ReadGrouping": Role.READER,
        "ScoreGrouping": Role.READER,
    },
    "penult.v1.InfoService": {
        "Attach": Role.READER,
        "GetInfo": Role.READER,
    },
    "penult.v1.JobService": {
        "CancelJob": Role.RUNNER,
        "CreateJob": Role.RUNNER,
        "GetJob": Role.READER,
        "GetJobLog": Role.READER,
        "ListJobs": Role.READER,
        "WatchJob": Role.READER,
    },
    "penult.v1.NeighbourService": {
        "ComputeNeighbourRates": Role.READER,
        "EvaluateNeighbours": Role.READER,
        "FindDuplicates": Role.READER,
        "FindLabelNoise": Role.READER,
        "ReadNeighbours": Role.READER,
    },
    "penult.v1.ProgressService": {
        "WatchQuery": Role.READER,
    },
    # What is computed here is stored: a reader may have it where it is there already.
    "penult.v1.RefitService": {
        "ComputeRefits": Role.READER,
        "Evaluate": Role.RUNNER,
        "EvaluateMixtures": Role.RUNNER,
        "SoupHeads": Role.RUNNER,
    },
    "penult.v1.RunService": {
        "GetRun": Role.READER,
        "GetRunManifest": Role.READER,
        "ListRuns": Role.READER,
    },
    "penult.v1.SpectraService": {
        "ComputeDescriptors": Role.READER,
        "ComputePrincipalAngles": Role.READER,
        "ComputeRunSpectra": Role.READER,
        "ComputeSpectra": Role.READER,
        "ReadCoordinates": Role.RUNNER,
        "ReadEigenvectors": Role.RUNNER,
    },
    "penult.v1.StorageService": {
        "Delete": Role.RUNNER,
        "GetUsage": Role.READER,
    },
}
"""The one table from RPC to the least role that may call it; what a handler still asks stands in server/NOTES.md."""

JOB_ROLES: dict[str, Role] = {
    "finetune": Role.RUNNER,
    "extract": Role.RUNNER,
    "register_dataset": Role.ADMIN,
    "import_checkpoint": Role.ADMIN,
    "merge": Role.RUNNER,
    "merge_curve": Role.RUNNER,
    "merge_report": Role.RUNNER,
}
"""The least role that may ask for a job, by the kind of its spec."""

LOOKING = ("Get", "List", "Watch", "Read", "Attach")
"""How the names of RPCs begin that change nothing; calls of all others are written to the audit."""
