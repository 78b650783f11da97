"""Counts the files of a folder: each is read, skipped or refused, and none is passed over in silence."""

import logging
from collections import Counter
from dataclasses import dataclass, field

from pixelrnn.errors import InputError

SHOWN = 20  # the most files that a message names

# Image files that we do not read. Their owners should hear of it; notes and thumbnails' caches need no word.
RAW = (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw")
HEIF = (".heic", ".heics", ".heif", ".heifs", ".hif")
OTHERS = (".avif", ".avifs", ".dds", ".dib", ".exr", ".hdr", ".ico", ".j2k", ".jp2", ".jpx", ".jxl", ".jxr", ".mpo")
UNREAD = {*RAW, *HEIF, *OTHERS, ".pcx", ".psd", ".qoi", ".svg", ".tga", ".xcf"}


@dataclass
class Report:
    """Counts of the files of a folder, and the reason for each refusal."""

    folder: str
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    """The number of files by ending: those that are no image files, hidden files, and image files of other formats."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why each image file could not be used."""

    def __str__(self) -> str:
        found = self.read + self.skipped.total() + len(self.refused)
        kinds = f" ({listed(self.skipped)})" if self.skipped else ""
        parts = f"{self.read:,} read, {self.skipped.total():,} skipped{kinds}, {len(self.refused):,} refused"
        return f"{found:,} files: {parts}"

    def tell_unread(self) -> None:
        """Logs the image files of formats that we do not read, and how to read them."""
        unread = Counter({ending: n for ending, n in self.skipped.items() if ending in UNREAD})
        if unread:
            heif = "pip install 'pixelrnn[heif]' to read HEIF, " if unread.keys() & {*HEIF} else ""
            advice = f"{heif}convert other formats to PNG" if unread.keys() - {*HEIF} else heif.removesuffix(", ")
            logging.getLogger("pixelrnn").warning(
                "%s: some image files are not read (%s): %s", self.folder, listed(unread), advice
            )

    def check(self, *, skip: bool) -> None:
        """Raises InputError if files were refused, and names them. With ``skip``, logs them instead."""
        if not self.refused:
            return
        names = [*self.refused]
        more = f", and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        total = f"{len(names):,} of {self.read + len(names):,} image files cannot be used"
        reasons = "; ".join(self.refused[name] for name in names[:SHOWN]) + more
        if not skip:
            advice = "" if len(names) == 1 else f" ({total}; pass skip_damaged to leave them out)"
            raise InputError(reasons + advice)
        logging.getLogger("pixelrnn").warning("%s: %s, and were left out: %s", self.folder, total, reasons)


def listed(counts: Counter[str]) -> str:
    """Counts in words, the largest first: ``3 .txt, 1 .heic``."""
    return ", ".join(f"{n:,} {kind}" for kind, n in counts.most_common())
