"""The process that trains what a simulation's rank hands over.

``python -m amgsrn_core.jobs.extraction_worker FOLDER RANK``. It ends when the rank hands over no
more, or is gone, and all of its steps are done.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from pathlib import Path

from amgsrn_core.errors import AmgsrnError
from amgsrn_core.runs.extraction import Extraction, PartTrainer, leave
from amgsrn_core.system.extras import require
from amgsrn_core.system.run_folder import waiting_lock

_POLL_SECONDS = 0.02

_log = logging.getLogger(__name__)


def main(folder: Path, rank: int) -> int:
    """Train a rank's steps until there are no more; return the exit code."""
    try:
        extraction = Extraction.read(folder, rank)
        require("torch", "Training").set_num_threads(extraction.threads)
        importlib.import_module("amgsrn_core.training.brick")  # seconds, of no time step
        # The process of a run of before may still be at what was left to it.
        with waiting_lock(extraction.folder.rank_lock(rank)):
            _train_all(extraction)
            leave(extraction)
    except AmgsrnError as error:
        _log.error("%s", error)
        return 1
    return 0


def _train_all(extraction: Extraction) -> None:
    trainer = PartTrainer(extraction)
    while not extraction.is_replaced:
        has_ended = extraction.has_ended  # asked first: a step may come before that
        number = trainer.next()
        if number is not None:
            trainer.train(number)
        elif has_ended:
            return
        else:
            time.sleep(_POLL_SECONDS)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2])))
