"""Counts the files of a folder: each is read, skipped or refused, and none is passed over in silence."""

import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pixelrnn.errors import InputError

SHOWN = 20  # the most files of one kind that a message names

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
    folders: Counter[str] = field(default_factory=Counter)
    """The number of folders that were not entered, by reason. Nobody counts the files in them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Why each image file could not be used."""

    def __str__(self) -> str:
        found = self.read + self.skipped.total() + len(self.refused)
        kinds = f" ({listed(self.skipped)})" if self.skipped else ""
        parts = f"{self.read:,} read, {self.skipped.total():,} skipped{kinds}, {len(self.refused):,} refused"
        if unseen := self.folders.total():
            parts += f"; {unseen:,} folder{'s' * (unseen > 1)} not entered ({listed(self.folders)})"
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

    @property
    def total(self) -> str:
        """The number of refused files in words."""
        return f"{len(self.refused):,} of {self.read + len(self.refused):,} image files cannot be used"

    @property
    def reasons(self) -> str:
        """The reasons of all refusals, each with the files that it holds for."""
        kinds: dict[str, list[str]] = {}
        for name, reason in self.refused.items():  # reasons that differ in numbers only are of one kind
            kinds.setdefault(re.sub(r"\d+", "0", reason.replace(name, "")), []).append(name)
        return "; ".join(with_others(self.refused[names[0]], names[1:]) for names in kinds.values())

    def check(self, *, skip: bool) -> None:
        """Raises InputError if files were refused, with all reasons. With ``skip``, logs them instead."""
        if self.refused and not skip:
            advice = "" if len(self.refused) == 1 else f" ({self.total}; pass skip_damaged to leave them out)"
            raise InputError(self.reasons + advice)
        if self.refused:
            told = f"{self.folder}: {self.total}, and were left out: {self.reasons}"
            logging.getLogger("pixelrnn").warning("%s", told)


def with_others(sentence: str, others: Sequence[str]) -> str:
    """A sentence about one file, and the names of the other files that it holds for."""
    if not others:
        return sentence
    more = f" and {len(others) + 1 - SHOWN:,} more" if len(others) >= SHOWN else ""
    return f"{sentence} (also {', '.join(others[: SHOWN - 1])}{more})"


def listed(counts: Counter[str]) -> str:
    """Counts in words, the largest first: ``3 .txt, 1 .heic``."""
    return ", ".join(f"{n:,} {kind}" for kind, n in counts.most_common())
