"""The command line, ``penult COMMAND``, on click.

`main` and `commands` run a command and turn every failure into a line and an exit status; `serving` says which server a
command asks; `printing` makes tables and JSON of records; `wording` puts the client's errors into the words of options.
The commands stand in the other modules, by what they are about.
"""
