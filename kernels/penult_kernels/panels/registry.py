"""Every panel there is, a line each."""

from collections.abc import Iterable, Mapping

from penult_kernels.panels import calibration, conformal, fairness, subpop, threshold, unintended_bias, wilds
from penult_kernels.panels.panel import Panel, PanelValue, Scored

PANELS: Mapping[str, Panel] = {
    one.name: one
    for one in (
        subpop.PANEL,
        wilds.PANEL,
        fairness.PANEL,
        unintended_bias.PANEL,
        calibration.PANEL,
        conformal.PANEL,
        threshold.PANEL,
    )
}


def panel_values(rows: Scored, names: Iterable[str]) -> list[tuple[str, PanelValue]]:
    """Values of panels by their names, in the order of the registry.

    Raises
    ------
    ValueError
        For a panel that there is not, and for one that needs calibration rows without any.
    """
    wanted = set(names)
    if unknown := wanted - set(PANELS):
        raise ValueError(f"panels are {', '.join(PANELS)}; got {', '.join(sorted(unknown))}")
    for name in wanted:
        if PANELS[name].needs_calibration and rows.calibration is None:
            raise ValueError(f"panel {name!r} needs calibration rows")
    return [(name, value) for name, panel in PANELS.items() if name in wanted for value in panel.compute(rows)]
