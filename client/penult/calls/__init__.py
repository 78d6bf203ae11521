"""Calls: what can be asked of a server, in one style for verbs and one for what is stored.

A verb (`refit`, `spectra`, `finetune`) is a method of `Client`, defined in a mixin here: `Finetuning`, `Spectral`,
`Refitting`, `About`. It encodes, calls and decodes, and has the signature and the docstring that `help` shows.
What is stored is a namespace of the client, `client.datasets`, `features`, `runs` and `jobs`: `list`, `get`, `delete`
where the server deletes, and what makes or reads one of its members. `Client` itself only puts these together.
"""
