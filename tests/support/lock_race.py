"""Several who take the lock of a run folder at once."""

from __future__ import annotations

import threading

from trainables.errors import RunFolderInUseError
from trainables.storage.filesystem import open_storage
from trainables.storage.lock import held


def outcomes_of_race(root: str, number: int) -> list[str]:
    """Returns in sorted order who `held` it and who was `refused`; a holder waits for the rest."""
    begun, ended = threading.Barrier(number), threading.Barrier(number)
    outcomes: list[str] = []

    def start() -> None:
        begun.wait(60)
        try:
            with held(open_storage(root)):
                outcomes.append("held")
                ended.wait(60)
        except RunFolderInUseError:
            outcomes.append("refused")
            ended.wait(60)

    threads = [threading.Thread(target=start) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)
