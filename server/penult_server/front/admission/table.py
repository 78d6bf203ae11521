"""How many members each repeated field of a request may have: one table, which a test holds against every RPC."""

from penult_proto.limits import MOST_FILES, MOST_LABELS, MOST_SIDES

MOST_TAGS = 64
MOST_NAMES = 1_000
"""Most names of a list that a person might write: splits, columns, sets to evaluate on."""
MOST_REFITS = 1_000
"""Most refits of one call."""
MOST_GRID_VALUES = 20_000
"""Most values of one number of a grid: as many as there may be candidates."""
MOST_ITEMS = 4 * MOST_LABELS
"""Most fields of one request, those of its parts included, and members of lists of numbers not."""

BOUNDS: dict[str, int] = {
    "Array.shape": MOST_SIDES,
    "ArrayHeader.shape": MOST_SIDES,
    "Card.tags": MOST_TAGS,
    "ComputeRefitsRequest.cards": MOST_REFITS,
    "ComputeRefitsRequest.requests": MOST_REFITS,
    "DiagnoseRequest.ids": MOST_NAMES,
    "DiagnoseRequest.numbers": MOST_NAMES,
    "DiscoverGroupsRequest.indices": MOST_LABELS,
    "DiscoverGroupsRequest.numbers": MOST_NAMES,
    "DiscoverGroupsRequest.words": MOST_NAMES,
    "EvaluateMixturesRequest.class_map": MOST_LABELS,
    "EvaluateMixturesRequest.heads": MOST_NAMES,
    "EvaluateNeighboursRequest.k": MOST_TAGS,
    "EvaluateRequest.class_map": MOST_LABELS,
    "EvaluateRequest.panels": MOST_NAMES,
    "ExtractSpec.class_map": MOST_LABELS,
    "ExtractSpec.splits": MOST_NAMES,
    "FinetuneSpec.early_steps": MOST_NAMES,
    "FinetuneSpec.evaluate": MOST_NAMES,
    "GridAxis.values": MOST_GRID_VALUES,
    "Head.classes": MOST_LABELS,
    "ImportCheckpointSpec.classes": MOST_LABELS,
    "ImportCheckpointSpec.image_mean": MOST_SIDES,
    "ImportCheckpointSpec.image_std": MOST_SIDES,
    "Labels.attribute_values": MOST_LABELS,
    "Labels.classes": MOST_LABELS,
    "Labels.masks": MOST_NAMES,
    "ListJobsRequest.states": MOST_SIDES,
    "ListOptions.tags": MOST_TAGS,
    "MergeCurveSpec.splits": MOST_NAMES,
    "MergeCurveSpec.t": MOST_NAMES,
    "MergeReportSpec.feature_sets": MOST_REFITS,
    "MergeSpec.blocks": MOST_NAMES,
    "MergeSpec.notes": MOST_NAMES,
    "MergeSpec.numbers": MOST_NAMES,
    "MergeSpec.parents": MOST_REFITS,
    "ReadFeaturesRequest.arrays": MOST_TAGS,
    "RefitRequest.evaluate": MOST_NAMES,
    "RefitRequest.grid": MOST_TAGS,
    "SoupHeadsRequest.class_map": MOST_LABELS,
    "SoupHeadsRequest.head_groups": MOST_NAMES,
    "SoupHeadsRequest.heads": MOST_NAMES,
    "TableColumns.attributes": MOST_NAMES,
    "TableColumns.masks": MOST_NAMES,
    "TableColumns.splits": MOST_NAMES,
    "TableColumns.texts": MOST_NAMES,
    "Tags.tags": MOST_TAGS,
    "UploadedGroups.names": MOST_LABELS,
    "UploadFilesHeader.files": MOST_FILES,
    "UploadHeader.arrays": MOST_TAGS,
    "UploadHeader.head_classes": MOST_LABELS,
    "UploadHeader.tags": MOST_TAGS,
    "UploadHeader.train_counts": MOST_LABELS,
}
"""Most members of each repeated field, or entries of each map, that a request can hold: by message and field."""
