"""The client's errors in the words of the command line.

Errors of the client name arguments as Python has them. On the command line the same argument is an option, and the same
call is a command.
"""

import re
from collections.abc import Iterator, Sequence

import click

_CALLS = (
    (r"or work without one: penult\.local\('DIR'\)", "or name a store on this machine: --root DIR"),
    (r"client\.extract\('(\w+)', splits=\['(\w+)'\]\)\.wait\(\)", r"penult extract \1 --split \2"),
    (r"client\.jobs\.get\('(\w+)'\)\.wait\(\)", r"penult jobs watch \1"),
    (r"client\.(\w+)\.list\(\)", r"penult \1 list"),
    (r"select=\{'on': '?([^'}]+)'?\}", r"--select-on \1"),
    (r"pass tls=True, or tls_ca=", "pass --tls, or --tls-ca"),
    (r"pass tls_cert= and tls_key=", "pass --tls-cert and --tls-key"),
    (r"leave tls= and tls_ca= out", "leave --tls and --tls-ca out"),
    (r"\ballow more with timeout=", "allow more with --timeout "),
    (r"pass token=\.\.\. or set PENULT_TOKEN", "pass --token or set PENULT_TOKEN"),
)
"""What errors advise in Python, as commands and options."""


def in_options(message: str, root: click.Group, arguments: Sequence[str]) -> str:
    """The message with the options of the command that `arguments` name in place of Python's arguments."""
    for pattern, said in _CALLS:
        message = re.sub(pattern, said, message)
    options = dict(_options(root, arguments))
    message = re.sub(
        r"\b(\w+)=(?:penult\.)?[A-Z]\w+\((\w+)=(?:\.\.\.)?([^)]*)\)",
        lambda written: _setting(written, on_line="settings" in options),
        message,
    )
    for name, option in options.items():
        # "top_k=5", "dtype='float16'", "columns={'a': ...}", "tls=True", "ratio=," and "tags=[...]".
        message = re.sub(rf"\b{name}=True\b", option, message)
        message = re.sub(rf"\b{name}=\[\.\.\.\]", option, message)
        message = re.sub(rf"\b{name}='([^' ]+)'", rf"{option} \1", message)
        message = re.sub(rf"\b{name}=(?=[\s,;:.)]|$)", option, message)
        message = re.sub(rf"\b{name}=(?=[^=])", f"{option} ", message)
        # "top_k must be", and other names that no English word is.
        message = re.sub(rf"(?<![\w'\"-]){name}(?= must\b| goes\b| takes\b| has no\b| names\b)", option, message)
        if "_" in name:
            message = re.sub(rf"(?<![\w'\"-]){name}\b", option, message)
    # What options of pairs take stands as {'a': ...} so far.
    return re.sub(r"(--[\w-]+) \{'(\w+)': '?([^'}]+)'?\}", r"\1 \2=\3", message)


def _setting(written: re.Match[str], *, on_line: bool) -> str:
    """An option of a topic, such as ``optimizer=AdamW(momentum=...)``, as --set has it, or a file of a sweep."""
    argument, option, value = written.groups()
    return f"{'--set ' if on_line else ''}{argument}.{option}{f'={value}' if value else ''}"


def _options(root: click.Group, arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Names of the command's options in Python, and as they are written."""
    command: click.Command = root
    for word in arguments:
        if not isinstance(command, click.Group) or word not in command.commands:
            break
        command = command.commands[word]
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name:
            yield parameter.name, max(parameter.opts, key=len)
