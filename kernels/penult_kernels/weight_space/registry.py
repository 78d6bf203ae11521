"""Merging rules by name: one module in `methods` and one line here each.

What each is called, does and takes is data that clients need, too: ``penult_proto/merge_methods.py``.
"""

from collections.abc import Callable, Mapping

from penult_kernels.weight_space.methods.breadcrumbs import Breadcrumbs
from penult_kernels.weight_space.methods.dare import Dare
from penult_kernels.weight_space.methods.fisher import Fisher
from penult_kernels.weight_space.methods.model_stock import ModelStock
from penult_kernels.weight_space.methods.regmean import RegMean
from penult_kernels.weight_space.methods.slerp import Slerp
from penult_kernels.weight_space.methods.task_arithmetic import TaskArithmetic
from penult_kernels.weight_space.methods.ties import Ties
from penult_kernels.weight_space.methods.ties_per_tensor import TiesPerTensor
from penult_kernels.weight_space.methods.uniform import Uniform
from penult_kernels.weight_space.methods.variance_corrected import VarianceCorrected
from penult_kernels.weight_space.methods.wise import Wise
from penult_kernels.weight_space.piece import Asked, Rule

RULES: Mapping[str, Callable[[Asked], Rule]] = {
    "uniform": Uniform,
    "wise": Wise,
    "trajectory": Uniform,
    "greedy": Uniform,
    "task_arithmetic": TaskArithmetic,
    "ties": Ties,
    "ties_per_tensor": TiesPerTensor,
    "dare": Dare,
    "breadcrumbs": Breadcrumbs,
    "model_stock": ModelStock,
    "slerp": Slerp,
    "variance_corrected": VarianceCorrected,
    "fisher": Fisher,
    "regmean": RegMean,
}
"""What makes the rule of each name; a greedy soup is the mean of those that `greedy` chooses."""
