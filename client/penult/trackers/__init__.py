"""Runs for the trackers that a lab has: event files of TensorBoard, runs of an MLflow server.

A tracker is written after the fact, from what is stored; training itself knows none. The same export again changes
nothing: a run is known by its id. `scalars` says which numbers go, `tensorboard` and `mlflow` write them.
"""
