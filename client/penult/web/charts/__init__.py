"""Figures of the page and the report: described once, drawn as SVG and, where scripts run, again by uPlot.

`model` says what a figure is, `svg` draws it, `of_runs` and `of_answers` make figures of records.
"""
