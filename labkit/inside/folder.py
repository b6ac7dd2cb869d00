"""The folder through which the kernel and one trial exchange files."""

from pathlib import Path


class TrialFolder:
    """Paths of its files: what is to be run, and what the trial leaves behind."""

    def __init__(self, path):
        self.path = Path(path)
        self.payload = self.path / "payload.pkl"  # the code and its parameters
        self.request = self.path / "request.pkl"  # limit, seed, environment
        self.result = self.path / "result.pkl"  # what `train` returned
        self.record = self.path / "record.npz"  # a labkit.record.record.Record
        self.faults = self.path / "faults.txt"  # where each thread was when the process crashed or was ended
        self.dump_prefix = self.path / "dump"  # of the allocator's dump files

    def dumps(self):
        """Paths of the dumps that the allocator has written so far: two for each refusal, as a rule."""
        return list(self.path.glob("dump*"))
