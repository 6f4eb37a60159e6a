"""Science: ARC and MMLU-STEM-5 on one scale of school years, for gaps from 3rd grade to college.

Assumption: MMLU's high-school questions count as 11th grade and its college questions as 14th (the
second year of college); ARC's grades are its own. Not checked against any common test.
"""

from __future__ import annotations

from dataclasses import replace

from trainables.data.level_cuts import fixed_cut
from trainables.data.loading.task_spec import Loaded, Request, TaskSpec
from trainables.data.tasks.questions import arc, mmlu

GRADE_OF_SCHOOL = {0.0: 11.0, 1.0: 14.0}
"""`education` of MMLU-STEM-5 -> school year."""


def load(request: Request) -> Loaded:
    """Returns the items of both tasks; their ids begin with the task's name.

    Raises:
        DataError: If the data of either task cannot be used.
    """
    school, college = arc.load(request), mmlu.load(request)
    items = [
        replace(item, id=f"arc/{item.id}", hardness={"grade": item.hardness["grade"]})
        for item in school.items
    ]
    items += [
        replace(
            item,
            id=f"mmlu/{item.id}",
            hardness={"grade": GRADE_OF_SCHOOL[item.hardness["education"]]},
        )
        for item in college.items
    ]
    return Loaded(
        items=items,
        source=f"{school.source}; {college.source}",
        notes=(
            *school.notes,
            *college.notes,
            "Assumption: MMLU high school counts as grade 11, college as grade 14.",
        ),
    )


TASK = TaskSpec(
    name="science",
    title="ARC grades 3 to 8, MMLU high school (11) and college (14) on one scale",
    licence=f"{arc.TASK.licence}; MMLU: {mmlu.TASK.licence}",
    accepts=f"{arc.ACCEPTS}; and {mmlu.ACCEPTS}",
    load=load,
    cuts={
        "grade": {
            "schools": fixed_cut(
                {
                    "3rd grade": (3, 3),
                    "4th to 5th grade": (4, 5),
                    "6th to 7th grade": (6, 7),
                    "8th grade": (8, 8),
                    "high school": (11, 11),
                    "college": (14, 14),
                }
            )
        }
    },
)
