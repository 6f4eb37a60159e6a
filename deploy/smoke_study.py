"""The smallest study: the smallest embedded model, zero-shot and with one example, 50 questions."""

from search_spaces.recipes import InContext
from search_spaces.space import BaseModelRef, Level, Space, TaskAxis

EASY, HARD = Level(name="easy", low=1, high=2), Level(name="hard", low=4, high=5)


def smoke() -> Space:
    """Does an installation run a study, from the questions to the report?"""
    return Space(
        name="smoke",
        models=(BaseModelRef(name="micro-s"),),
        tasks=(
            TaskAxis(
                task="micro",
                measure="steps",
                train_levels=(EASY, HARD),
                test_levels=(HARD,),
                test_items=50,
                train_on_all=False,
            ),
        ),
        methods=(InContext(k=1),),
        seeds=1,
    )
