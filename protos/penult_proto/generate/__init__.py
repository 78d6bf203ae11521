"""What makes the committed code: ``python -m penult_proto.generate``.

`wire` writes the Python code beside the ``.proto`` files; `client` and `finetuning` write the client's modules that
follow from it and from the client's own signatures.
"""
