"""Long work: ``penult finetune``, ``sweep``, ``extract``, ``merge``.

`arguments` makes options of the arguments of `Client.finetune`, from their types; `grouped` makes the options of a
topic out of ``optimizer.learning_rate=1e-4``; `sweep_file` reads a file of finetunings.
"""
