"""The process that owns the device and answers queries over resident features.

It speaks the public services (features, spectra, refits) on a private socket; the front passes requests on.
"""
