"""The two losses of a generative reward model: what each selects for self-training at 0.8.

Run: `python -m benchmarks.verdict_losses [--model micro-s] [--prompt letter] [--labels 640]
[--seeds 3]`. A judge is trained as in space `ssrm_verdict_micro` (prompt `letter`, a verdict of one
token) or `ssrm_rm_micro` (prompt `default`, the better answer's text), once by cross-entropy over
the vocabulary (`loss="text"`, arXiv:2409.06903) and once by the softmax over the two answers
(`loss="choices"`). It then labels 480 other pairs. A seed's losses share pairs, order and weights
at the start. One thread.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.labelling import label, setting_of
from search_spaces.base_models import BaseModelRef
from search_spaces.recipes import LoRA
from search_spaces.studies.lab.ssrm_rm_micro import (
    LAB_TRAINING,
    LAB_VERDICT,
    LAB_VOLUME,
    THRESHOLD,
    generative,
)
from trainables.data.items import Item
from trainables.data.seeding import ids_hash
from trainables.data.tasks.preferences.micro_preferences import load_micro_preferences
from trainables.methods.base.interface import Example
from trainables.methods.dispatch import fit
from trainables.models.loading import Base, load_base
from trainables.models.resolve import resolve_model

TRAINING: Mapping[str, Mapping[str, object]] = {"letter": LAB_VERDICT, "default": LAB_TRAINING}
"""By prompt."""
NUM_UNLABELLED = 480
Loss = Literal["text", "choices"]


def main() -> None:
    """Prints, for each loss and seed, what is selected and how much of it is right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="micro-s")
    parser.add_argument("--prompt", choices=tuple(TRAINING), default="letter")
    parser.add_argument("--labels", type=int, default=LAB_VOLUME)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    source = resolve_model(BaseModelRef(name=options.model))
    base = load_base(source, "float32", "none", "cpu")
    for seed in range(options.seeds):
        pairs = random.Random(seed).sample(
            load_micro_preferences(), options.labels + NUM_UNLABELLED
        )
        for loss in ("text", "choices"):
            preferences = judged(
                base, source.content, pairs, options.labels, loss, seed, prompt_name=options.prompt
            )
            unlabelled = pairs[options.labels :]
            print(f"seed {seed}, {loss:7}  {summary(preferences, unlabelled)}", flush=True)


def judged(
    base: Base,
    content: str,
    pairs: Sequence[Item],
    num_labels: int,
    loss: Loss,
    seed: int,
    *,
    prompt_name: str,
) -> NDArray[np.float64]:
    """Returns the probability that the first answer is better, of every pair without a label."""
    labelled = pairs[:num_labels]
    recipe = generative(LoRA, prompt=prompt_name, **{**TRAINING[prompt_name], "loss": loss})
    trained_on = ids_hash([pair.id for pair in labelled])
    context = setting_of(content, recipe, pairs, training_hash=trained_on, seed=seed)
    examples = [Example(item=pair, answer=pair.answer) for pair in labelled]
    with fit(context, base, examples) as judge:
        return label(judge, pairs[num_labels:])


def summary(preferences: NDArray[np.float64], pairs: Sequence[Item]) -> str:
    """Returns how many pairs are selected, and the accuracy on them and on all."""
    confidence = np.maximum(preferences, 1 - preferences)
    is_right = (preferences < 0.5) == np.array([pair.answer for pair in pairs], dtype=bool)
    selected = confidence > THRESHOLD
    accuracy = f"{100 * is_right[selected].mean():.1f} %" if selected.any() else "-"
    return (
        f"{selected.sum()} of {len(pairs)} selected, {accuracy} of them right; of all "
        f"{100 * is_right.mean():.1f} %, mean confidence {confidence.mean():.3f}"
    )


if __name__ == "__main__":
    main()
