"""Downloads a model from the Hugging Face hub, in a child process, so that it can be stopped at any moment."""

from __future__ import annotations

import sys
from typing import Any

import httpx2
from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError
from tqdm.asyncio import tqdm_asyncio

from harness.errors import SourceError, first_line
from harness.metrics.units import format_bytes
from harness.system.child import serve_job, tell_progress
from harness.system.progress import BETWEEN_STEPS_S, time_left


class LineBar(tqdm_asyncio):  # type: ignore[type-arg]
    """A progress bar that sends its state as a line of progress instead of drawing it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **{**options, "disable": False, "mininterval": BETWEEN_STEPS_S})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Send the bytes done, for bars that count bytes."""
        if self.unit == "B" and self.total and self.n:
            left = time_left(self.n, self.total, self.format_dict["elapsed"])
            tell_progress(f"downloading: {format_bytes(self.n)} of {format_bytes(self.total)}{left}")


def main(job: dict[str, Any]) -> dict[str, Any]:
    """Download `files` of the model `id` that are not in the hub's cache yet."""
    try:
        folder = snapshot_download(job["id"], allow_patterns=job["files"], tqdm_class=LineBar)
    except GatedRepoError as error:
        raise SourceError("its licence must be accepted on its page first; then log in: hf auth login") from error
    except RepositoryNotFoundError as error:
        raise SourceError("the hub has no model of this name, or hides it from this account") from error
    except LocalEntryNotFoundError as error:
        raise SourceError("the hub cannot be reached from here") from error
    except HfHubHTTPError as error:
        raise SourceError(f"the hub refused it: {first_line(error)}") from error
    except (OSError, httpx2.HTTPError) as error:
        raise SourceError(f"the download failed: {first_line(error)}") from error
    return {"folder": str(folder)}


if __name__ == "__main__":
    serve_job(main, sys.argv[1:])
