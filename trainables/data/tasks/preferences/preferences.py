"""Preferences: UltraFeedback to train on, and five sets to test on, in one task.

Test sets are never trained on, nor are pairs with one of their prompts. Measure
`set`: 0 UltraFeedback (its own test part, `test_prefs`), 1 RewardBench, 2 PandaLM, 3 LLMBar, 4
HH-RLHF (its own test part; what it has to train on is not read).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from trainables.data.items import Item
from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.files import Row
from trainables.data.loading.preference_pairs import Pair
from trainables.data.loading.task_spec import Loaded, Request, TaskSpec
from trainables.data.tasks.preferences import hh_rlhf, llmbar, pandalm, rewardbench, ultrafeedback

SETS = {"ultrafeedback": 0, "rewardbench": 1, "pandalm": 2, "llmbar": 3, "hh_rlhf": 4}
"""Set -> value of the measure `set`."""


def load(request: Request) -> Loaded:
    """Returns the pairs of all sets; ids begin with the set's name, a topic is a set's subset.

    Raises:
        DataError: If the data of a set is missing or invalid; names the file to provide.
    """
    sets = {
        "ultrafeedback": ultrafeedback.TASK.load(request),
        "rewardbench": rewardbench.TASK.load(request),
        "pandalm": pandalm.TASK.load(request),
        "llmbar": llmbar.TASK.load(request),
        "hh_rlhf": _human.load(request),
    }
    items = {name: list(_of_set(name, loaded.items)) for name, loaded in sets.items()}
    test = {f"ultrafeedback/{id_}" for id_ in sets["ultrafeedback"].test}
    test.update(i.id for name in sets if name != "ultrafeedback" for i in items[name])
    return Loaded(
        items=[item for subset in items.values() for item in subset],
        source="; ".join(loaded.source for loaded in sets.values()),
        notes=tuple(f"{name}: {note}" for name, loaded in sets.items() for note in loaded.notes),
        test=frozenset(test),
    )


def _of_set(name: str, items: Iterable[Item]) -> Iterator[Item]:
    """Yields the items with the set in their ids and among their measures."""
    for item in items:
        hardness = {**item.hardness, "set": float(SETS[name])}
        yield replace(item, id=f"{name}/{item.id}", hardness=hardness)


def _parse_human(row: Row) -> Pair:
    """Returns a pair of HH-RLHF with its prompt as UltraFeedback writes one.

    So prompts have the format of training, and equal prompts are recognised. HH-RLHF writes
    `Human:` for `User:`, even for a single message.
    """
    pair = hh_rlhf.parse_row(row)
    prompt = re.sub("^Human:", "User:", pair.prompt, flags=re.MULTILINE)
    if "\n\nAssistant:" not in prompt:
        prompt = prompt.removeprefix("User:")
    return replace(pair, prompt=prompt)


_human = hh_rlhf.make_task(("test",), _parse_human)

TASK = TaskSpec(
    name="preferences",
    title=(
        "UltraFeedback to train on; its test part, RewardBench, PandaLM, LLMBar and the test part "
        "of HH-RLHF to test on"
    ),
    licence=(
        f"UltraFeedback {ultrafeedback.TASK.licence}, RewardBench {rewardbench.TASK.licence}, "
        f"PandaLM {pandalm.TASK.licence}, LLMBar {llmbar.TASK.licence}, "
        f"HH-RLHF {hh_rlhf.TASK.licence}"
    ),
    accepts=f"{ultrafeedback.TASK.accepts}; {rewardbench.TASK.accepts}; "
    f"{pandalm.TASK.accepts}; {llmbar.TASK.accepts}; and {_human.accepts}",
    load=load,
    cuts={"set": {"sets": fixed_cut({name: (number, number) for name, number in SETS.items()})}},
)
