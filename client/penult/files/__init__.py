"""Files on this machine: arrays in the formats that people have, and records in penult's own.

Nothing here knows a server. `formats` has one module for each format of arrays; `sources` opens a file or directory by
its content; `roles` and `group_codes` say which of its arrays is what; `saved` writes records and reads them.
"""
