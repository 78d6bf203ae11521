"""What makes a record one that can be saved; the file itself is described in `saved`."""

from pathlib import Path


class Savable:
    """A record that can be written to a file."""

    __slots__ = ()

    def save(self, path: str | Path) -> None:
        """Write the record to a file, which ``penult.load(path)`` gives back without a server.

        The file is an .npz of plain arrays with a header in JSON, under exactly the name given; ``np.load`` reads its
        arrays, too. It is whole or not there, and replaces a file of that name.

        Raises `InvalidRequest` where the file cannot be written.
        """
        # Zip files take a while to import, and few scripts save.
        from penult.files.saved import write_record

        write_record(self, path)
