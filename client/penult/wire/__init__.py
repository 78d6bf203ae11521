"""The wire: from arguments to messages (`encode*`, `recipes`, `uploads`), from messages to results (`decode*`).

`references` has what stands for a stored thing, `transfer` sends and gathers large arrays. Makes no calls.
`refit_arguments` and `finetune_arguments`, the arguments as dictionaries, are made from the signatures in `calls`.
"""
