"""Results: what answers are. Frozen records that print themselves, with `.to_frame()` and `.plot()`.

Knows no messages and makes no calls. pandas and matplotlib are imported when they are asked for, by `frames` and
`figures`. Users have the records from `penult`; here each is imported from its module, so that one loads no others.
"""
