"""The fields of a space in a user's file: values that each may have, and values that it may not.

A space is kept as the text of its parts' fields, so that anything can stand where a value belongs.
"""

from __future__ import annotations

from collections.abc import Mapping

Parts = dict[str, dict[str, str]]
"""Part -> field -> its text in the file."""

CLASSES = {
    "footprint": "Footprint",
    "model": "BaseModelRef",
    "easy": "Level",
    "hard": "Level",
    "test": "Level",
    "labels": "Labels",
    "training": "SelfTraining",
    "noisy": "Condition",
    "ssrm": "Condition",
    "reasoning": "Reasoning",
    "examples": "InContext",
    "probe": "LinearProbe",
    "lora": "LoRA",
    "qlora": "QLoRA",
    "full": "FullFineTuning",
    "ordered": "Ordered",
    "columns": "Columns",
    "source": "DataSource",
    "axis": "TaskAxis",
    "first": "Arm",
    "second": "Arm",
    "contrast": "Contrast",
    "hardness": "ModelHardness",
    "space": "Space",
}
"""Each part and its class, in an order in which a part stands before those that hold it."""

BASE: Parts = {
    "footprint": {},
    "model": {"name": "'micro-s'", "footprint": "footprint"},
    "easy": {"name": "'easy'", "low": "1", "high": "2"},
    "hard": {"name": "'hard'", "low": "3", "high": "4"},
    "test": {"name": "'hardest'", "low": "4", "high": "4"},
    "labels": {"kind": "'noise'", "rate": "0.5"},
    "training": {},
    "noisy": {"name": "'noisy'", "levels": "('easy',)", "labels": "labels"},
    "ssrm": {
        "name": "'ssrm'",
        "levels": "('easy',)",
        "unlabelled": "('easy', 'hard')",
        "self_training": "training",
        "rounds": "2",
    },
    "reasoning": {},
    "examples": {"k": "1"},
    "probe": {"n_train": "2"},
    "lora": {"n_train": "2"},
    "qlora": {"n_train": "2"},
    "full": {"n_train": "2"},
    "ordered": {"column": "'difficulty'", "values": "('low', 'high')"},
    "columns": {},
    "source": {},
    "axis": {
        "task": "'jsonl:own'",
        "measure": "'steps'",
        "train_levels": "(easy, hard)",
        "test_levels": "(hard, test)",
        "conditions": "(noisy, ssrm)",
    },
    "first": {"condition": "'easy'"},
    "second": {"condition": "'hard'"},
    "contrast": {"first": "first", "second": "second", "test_level": "'hard'"},
    "hardness": {},
    "space": {
        "name": "'own'",
        "models": "(model,)",
        "tasks": "(axis,)",
        "methods": "(examples, probe, lora, qlora, full)",
        "seeds": "1",
        "contrasts": "(contrast,)",
        "footprint": "footprint",
        "hardness": "(hardness,)",
    },
}

NO_TEXT = ["5", "None", "['x']", "1.5", "object()", "''"]
NO_OPTIONAL_TEXT = [text for text in NO_TEXT if text not in ("None", "''")]
NO_COUNT = ["0", "-3", "1.5", "None", "'many'", "[1]", "nan", "inf", "True", "object()"]
NO_OPTIONAL_COUNT = [text for text in NO_COUNT if text != "None"]
NO_WHOLE = [text for text in NO_COUNT if text != "0"]
NO_POSITIVE = ["0", "-1e-9", "None", "'much'", "nan", "inf", "[1.0]", "object()"]
NO_NUMBER = ["None", "'much'", "nan", "-inf", "[1.0]", "{}", "object()"]
NO_SHARE = ["-0.1", "1.01", *NO_NUMBER]
NO_SHARE_BELOW_1 = [*NO_SHARE, "1"]
NO_CHOICE = ["'other'", "''", "None", "5", "['x']"]
NO_TRUTH = ["None", "'perhaps'", "2", "[True]"]
NO_PART = ["5", "'x'", "{'odd': 1}", "[1]", "object()"]
NO_PARTS = ["None", "5", "('x',)", "(5,)", "(None,)", "(object(),)", "object()", "{'x'}"]
NO_NAME_OF_A_STUDY = [
    *("'..'", "'a/b'", "'-a'", "'ä'", "'a b'", "'a\\n'", "'a' * 300"),
    *("'cells'", "'running'", "'states'", "'checkpoints'", "'measures'", "'sweep.json'"),
]
NO_NAMES = ["5", "None", "(1,)", "(None,)", "('elsewhere',)"]

COUNTS, LABELS = ["1", "2", "7"], ["1", "2", "2.0"]
SHARES = ["0", "0.25", "0.5"]
POSITIVE = ["1e-9", "0.5", "3", "1e6"]

Values = list[str]

RECIPE: dict[str, tuple[Values, Values]] = {
    "quantization": (["'none'"], NO_CHOICE),
    "scoring": (["'sum'", "'per-token'", "'per-char'", "'pmi'"], NO_CHOICE),
    "orders": (["'given'", "'all'"], NO_CHOICE),
    "prompt": (["None", "'default'"], [*NO_OPTIONAL_TEXT, "'unheard of'", "'chat:default'"]),
    "reasoning": (["None"], NO_PART),
    "search": (["None", "'1234'"], NO_OPTIONAL_TEXT),
    "search_labels": (["None", "7"], NO_OPTIONAL_COUNT),
}

TRAINED = RECIPE | {
    "min_updates": (["None", "1"], NO_OPTIONAL_COUNT),
    "max_updates": (["None", "7"], NO_OPTIONAL_COUNT),
    "n_train": (LABELS, NO_COUNT),
    "loss": (["'choices'"], NO_CHOICE),
    "learning_rate": (POSITIVE, NO_POSITIVE),
    "warm_up": (SHARES, NO_SHARE_BELOW_1),
    "epochs": (COUNTS, NO_COUNT),
    "batch_size": (COUNTS, NO_COUNT),
    "weight_decay": (["0", *POSITIVE], ["-1", *NO_NUMBER]),
    "max_grad_norm": (POSITIVE, NO_POSITIVE),
}

ADAPTER = TRAINED | {
    "rank": (COUNTS, NO_COUNT),
    "alpha": (POSITIVE, NO_POSITIVE),
    "dropout": (["0"], NO_SHARE_BELOW_1),
    "target_modules": (["'all-linear'", "'attention'"], NO_CHOICE),
    "head": (["'language model'"], NO_CHOICE),
}

CONDITION: dict[str, tuple[Values, Values]] = {
    "name": (["'own words'", "'härd ≤'"], [*NO_TEXT, "'easy'", "'all'", "'zero-shot'"]),
    "levels": (["()", "('easy',)", "('hard',)", "('easy', 'hard')"], NO_NAMES),
    "n_train": (["None", "1", "2"], NO_OPTIONAL_COUNT),
    "labels": (["Labels()"], [*NO_PART, "None"]),
    "label_cost": (POSITIVE, NO_POSITIVE),
    "control": (["True", "False"], NO_TRUTH),
}

LEVEL: dict[str, tuple[Values, Values]] = {
    "name": ([], [*NO_TEXT, "'all'", "'zero-shot'"]),
    "low": ([], NO_NUMBER),
    "high": ([], NO_NUMBER),
}

ARM: dict[str, tuple[Values, Values]] = {
    "method": (["None", "'lora'", "'linear probe'"], [*NO_OPTIONAL_TEXT, "'dpo'"]),
    "model": (["None", "'micro-s'"], [*NO_OPTIONAL_TEXT, "'micro-l'"]),
    "recipe": (["None"], [*NO_PART, "model", "InContext(k=3)"]),
    "threshold": (["None"], [*NO_NUMBER[1:], "0.5"]),
    "round": (["None"], [*NO_OPTIONAL_COUNT, "1"]),
}

FIELDS: Mapping[str, Mapping[str, tuple[Values, Values]]] = {
    "footprint": {
        "workers": (["None", "1", "4"], NO_OPTIONAL_COUNT),
        "cpus_per_worker": (COUNTS, NO_COUNT),
        "gpus_per_worker": (
            ["None", "0", "1", "0.5"],
            ["-1", "'x'", "1.5", "True", "0.33333", "1e-9"],
        ),
        "engine": (["'plain'", "'zero-2'"], NO_CHOICE),
        "offload": (["False"], [*NO_TRUTH, "True"]),
    },
    "model": {
        "name": (["'micro-m'"], [*NO_TEXT, "'micro-xl'", "'./nowhere'", "'/'", "'a/b/c'"]),
        "path": (["None"], [*NO_OPTIONAL_TEXT, "''", "'nowhere'"]),
        "revision": (["None"], [*NO_OPTIONAL_TEXT, "'main'"]),
        "bos": (["None"], [value for value in NO_CHOICE if value != "None"]),
        "dtype": (["'float32'"], [*NO_CHOICE, "'int8'"]),
        "footprint": (["None"], NO_PART),
    },
    "easy": LEVEL | {"low": (["-1e9", "0.5"], [*NO_NUMBER, "2.5"])},
    "hard": LEVEL | {"high": (["4.5", "1e9"], [*NO_NUMBER, "2.5"])},
    "test": LEVEL | {"low": (["3", "3.5"], [*NO_NUMBER, "4.5"])},
    "labels": {
        "kind": (["'noise'", "'paper noise'"], [*NO_CHOICE, "'gold'", "'random'", "'trivial'"]),
        "rate": (["0", "0.1", "1"], NO_SHARE),
    },
    "training": {
        "threshold": (["0.4", "0.9", "1"], [*NO_SHARE, "0.1"]),
        "rule": (
            ["'fixed'", "'quantile'", "'class-balanced'", "'freematch'"],
            [*NO_CHOICE, "'softmatch'"],
        ),
        "confidence": (["'raw'", "'chance-normalised'"], NO_CHOICE),
        "start": (["'restart'"], [*NO_CHOICE, "'continue'"]),
        "memory": (["'relabel'", "'accumulate'"], NO_CHOICE),
        "admission": (["'at-once'"], NO_CHOICE),
        "orders": (["'given'", "'all'"], NO_CHOICE),
        "calibration": (["'none'"], [*NO_CHOICE, "'temperature'"]),
        "n_validation": (["0"], [*NO_WHOLE, "1"]),
        "label_smoothing": (["0"], [*NO_SHARE_BELOW_1, "0.1"]),
        "targets": (["'pseudo'", "'random'", "'oracle'", "'none'"], NO_CHOICE),
        "max_unlabelled": (["None", "1", "100"], NO_OPTIONAL_COUNT),
    },
    "noisy": CONDITION
    | {
        "self_training": (["None"], NO_PART),
        "unlabelled": (["()"], [*NO_NAMES, "('easy',)"]),
        "rounds": (["1"], [*NO_COUNT, "2"]),
    },
    "ssrm": CONDITION
    | {
        "self_training": (["SelfTraining()"], [*NO_PART, "None"]),
        "unlabelled": (
            ["()", "('easy',)", "('hard',)"],
            [*NO_NAMES, "('hard', 'easy')", "('easy', 'easy')"],
        ),
        "rounds": (["1", "3"], NO_COUNT),
    },
    "reasoning": {
        "max_new_tokens": (COUNTS, NO_COUNT),
        "reading": ([], ["1", "None", "'2'"]),
    },
    "examples": RECIPE | {"k": (LABELS, NO_COUNT)},
    "probe": RECIPE
    | {
        "n_train": (LABELS, NO_COUNT),
        "layers": (
            ["('middle',)", "('last', 0)", "(1, 2)"],
            ["()", "None", "('first',)", "(1.5,)", "'last'", "5"],
        ),
        "solver": (["'converged'", "'paper'"], NO_CHOICE),
        "l2": (POSITIVE, NO_POSITIVE),
    },
    "lora": ADAPTER | {"quantization": (["'none'"], [*NO_CHOICE, "'nf4'"])},
    "qlora": ADAPTER | {"quantization": (["'nf4'"], [*NO_CHOICE, "'none'", "'int8'"])},
    "full": TRAINED | {"quantization": (["'none'"], [*NO_CHOICE, "'nf4'", "'int8'"])},
    "ordered": {
        "column": (["'difficulty'"], ["5", "None", "object()"]),
        "values": (
            ["('easy', 'hard')"],
            ["5", "None", "'low'", "()", "('low',)", "('low', 5)", "('low', 'low')"],
        ),
    },
    "columns": {
        "question": (["('passage', 'question')"], ["5", "None", "(5,)", "object()"]),
        "choices": (["('a', 'b')", "None"], ["5", "()", "('a',)", "('a', 5)", "object()"]),
        "answer": (["'key'"], ["5", "None", "['x']", "object()"]),
        "answer_is": (["None"], ["'other'", "5", "['x']", "'boolean'"]),
        **dict.fromkeys(
            ("id", "group", "topic", "reasoning"), (["None", "'x'"], ["5", "['x']", "object()"])
        ),
        "measures": (
            ["('steps',)", "('steps', ordered)"],
            ["5", "None", "'steps'", "(5,)", "('steps', 'steps')", "(ordered, 'difficulty')"],
        ),
    },
    "source": {
        "columns": (["None"], NO_PART),
        "splits": (["()"], ["5", "None", "'train'", "(5,)"]),
        "revision": (["None"], ["5", "['x']", "object()"]),
        "folder": (["None"], ["5", "['x']", "object()"]),
    },
    "axis": {
        "data": (
            ["None", "source"],
            [*NO_PART, "DataSource(revision='x')", "DataSource(splits=('x',))"],
        ),
        "task": ([], [*NO_TEXT, "'unheard of'", "'arc:x'", "'jsonl:other'", "'jsonl'"]),
        "measure": (["'depth'"], [*NO_TEXT, "'unheard of'", "'answer_chars'", "'mdl:odd'"]),
        "train_levels": ([], [*NO_PARTS, "()", "easy", "(easy, easy)", "(hard, easy)", "(hard,)"]),
        "test_levels": (["(hard,)", "(test, hard)"], [*NO_PARTS, "()", "hard", "(test, test)"]),
        "train_on_all": (["True", "False"], NO_TRUTH),
        "scale": (["'ordinal'", "'quantiles'"], NO_CHOICE),
        "bounds": (["'values'"], [*NO_CHOICE, "'quantiles'"]),
        "test_items": (["None", "2", "10**6"], [*NO_OPTIONAL_COUNT, "1"]),
        "prompt": (["'default'"], [*NO_TEXT, "'unheard of'", "'chat:default'"]),
        "reasoning_prompt": (["'reasoned'"], [*NO_OPTIONAL_TEXT, "None"]),
        "floor": (["'auto'"], NO_CHOICE),
        "conditions": (["(ssrm,)", "(noisy,)", "()"], [*NO_PARTS, "(noisy, noisy)", "noisy"]),
        "methods": (["()", "(examples,)", "(probe, lora)"], [*NO_PARTS, "lora", "('lora',)"]),
    },
    "first": ARM | {"condition": (["'easy'", "'all'"], [*NO_TEXT, "'unheard of'", "'start'"])},
    "second": ARM | {"condition": (["'hard'"], [*NO_TEXT, "'unheard of'", "'start'"])},
    "contrast": {
        "first": ([], [*NO_PART, "None"]),
        "second": ([], [*NO_PART, "None"]),
        "of": (["'accuracy'"], NO_CHOICE),
        "margin": (["None", "0.02"], ["0", "2", *NO_NUMBER[1:]]),
        "test_level": (["'hard'", "'hardest'"], [*NO_TEXT, "'easy'"]),
        "task": (["None", "'jsonl:own'"], [*NO_OPTIONAL_TEXT, "'arc'"]),
        "measure": (["None"], [*NO_OPTIONAL_TEXT, "'unheard of'"]),
    },
    "hardness": {
        "name": (["'mdl'", "'own-2'"], [*NO_TEXT, "'Mdl'", "'a b'", "'2'", "'ä'"]),
        "models": (["()", "(model,)"], [*NO_PARTS, "model", "(model, model)"]),
        "method": (["ZeroShot()"], [*NO_PART, "None", "lora"]),
        "sizes": (["()"], ["None", "5", "(0,)", "(5,)", "('x',)"]),
        "seeds": (COUNTS, NO_COUNT),
    },
    "space": {
        "name": (
            ["'a'", "'A-b.c_9'"],
            [*NO_TEXT, *NO_NAME_OF_A_STUDY],
        ),
        "models": (
            ["(model, BaseModelRef(name='micro-m'))", "[model]"],
            [*NO_PARTS, "()", "model", "(model, model)", "('micro-s',)"],
        ),
        "tasks": (["[axis]"], [*NO_PARTS, "()", "axis", "(axis, axis)", "('jsonl',)"]),
        "methods": (
            ["(lora, full)", "[probe]"],
            [*NO_PARTS, "()", "lora", "(full, full)", "('lora',)", "(ZeroShot(),)"],
        ),
        "seeds": (["1", "3"], NO_COUNT),
        "study_seed": (["0", "1", "10**12"], NO_WHOLE),
        "split": (["'frozen'"], [*NO_CHOICE, "'paper'"]),
        "split_for": (["None", "1", "2"], NO_OPTIONAL_COUNT),
        "contrasts": (["()", "[contrast]"], [*NO_PARTS, "contrast"]),
        "level": (["0.9", "0.51"], ["0.5", "1", *NO_NUMBER]),
        "footprint": (["Footprint()"], [*NO_PART, "None"]),
        "keep": (["None"], [value for value in NO_CHOICE if value != "None"]),
        "policy": (["None"], [*NO_PART, "PolicyDPO()"]),
        "hardness": (["()", "[hardness]"], [*NO_PARTS, "hardness", "(hardness, hardness)"]),
    },
}
"""Part -> field -> values that it may have, whatever the other fields are here, and values that it
may not have. A field without values of the first kind keeps the one it has."""

Edits = Mapping[str, Mapping[str, str]]

TOGETHER: Mapping[str, tuple[Edits, str]] = {
    "a model without its comma": ({"space": {"models": "model"}}, "comma"),
    "levels without their comma": ({"axis": {"test_levels": "hard"}}, "comma"),
    "a set of models": ({"space": {"models": "{model}"}}, "set"),
    "level upside down": ({"easy": {"low": "2.5"}}, "above"),
    "levels that do not rise": ({"easy": {"low": "3", "high": "3"}}, "train_levels"),
    "two bands of one name": ({"test": {"name": "'hard'"}}, "test_levels"),
    "one name, two bands": (
        {"test": {"name": "'hard'"}, "axis": {"test_levels": "(test,)"}},
        "'hard'",
    ),
    "level without items": ({"test": {"low": "40", "high": "50"}}, "no item has"),
    "training level without items": ({"hard": {"low": "40", "high": "50"}}, "no item has"),
    "levels that a condition mixes overlap": (
        {"easy": {"high": "3"}, "noisy": {"levels": "('easy', 'hard')"}},
        "'noisy'",
    ),
    "quantiles on an ordinal scale": (
        {
            "axis": {
                "bounds": "'quantiles'",
                "measure": "'depth'",
                "test_levels": "(hard,)",
            },
            "easy": {"low": "0", "high": "0.5"},
            "hard": {"low": "0.5", "high": "1"},
        },
        "scale",
    ),
    "quantiles with a gap": (
        {
            "axis": {
                "bounds": "'quantiles'",
                "scale": "'quantiles'",
                "measure": "'depth'",
                "test_levels": "(hard,)",
            },
            "easy": {"low": "0", "high": "0.4"},
            "hard": {"low": "0.6", "high": "1"},
        },
        "[0, 1]",
    ),
    "quantiles with a test level of their own": (
        {
            "axis": {"bounds": "'quantiles'", "scale": "'quantiles'", "measure": "'depth'"},
            "easy": {"low": "0", "high": "0.5"},
            "hard": {"low": "0.5", "high": "1"},
            "test": {"low": "0.9", "high": "1"},
        },
        "hardest",
    ),
    "quantiles that ties leave empty": (
        {
            "axis": {
                "bounds": "'quantiles'",
                "scale": "'quantiles'",
                "measure": "'flat'",
                "test_levels": "(hard,)",
            },
            "easy": {"low": "0", "high": "0.5"},
            "hard": {"low": "0.5", "high": "1"},
        },
        "flat",
    ),
    "labels of more items than there are": ({"lora": {"n_train": "1000"}}, "1000"),
    "examples of more items than there are": ({"examples": {"k": "1000"}}, "1000"),
    "a condition of more items than there are": ({"noisy": {"n_train": "1000"}}, "1000"),
    "nothing to keep": ({"space": {"keep": "'adapters'", "methods": "(examples, full)"}}, "keep"),
    "a split that leaves no test": ({"space": {"split_for": "12"}}, "test level 'hard'"),
    "a split that leaves no pool": ({"space": {"split_for": "1000"}}, "1000"),
    "labels that leave none unlabelled": (
        {"ssrm": {"n_train": "20", "unlabelled": "('easy',)"}},
        "unlabelled",
    ),
    "a raw confidence of unlike items": ({"axis": {"task": "'jsonl:mixed'"}}, "'raw'"),
    "policies over workers": (
        {
            "space": {"policy": "PolicyDPO()", "methods": "(lora,)"},
            "axis": {"task": "'micro_preferences'", "test_levels": "(hard,)"},
            "training": {"threshold": "0.6"},
            "footprint": {"engine": "'zero-1'"},
        },
        "policies",
    ),
    "workers that share a GPU and its training": (
        {"footprint": {"engine": "'zero-1'", "gpus_per_worker": "0.5"}},
        "gpus_per_worker",
    ),
    "no point": (
        {
            "axis": {
                "train_levels": "(hard,)",
                "conditions": "()",
                "train_on_all": "False",
                "test_levels": "(hard,)",
            },
            "first": {"condition": "'hard'"},
            "second": {"condition": "'zero-shot'"},
        },
        "point",
    ),
    "contrast of a condition that trains nothing": (
        {"second": {"condition": "'start'"}},
        "its start",
    ),
    "self-training with split paper": ({"space": {"split": "'paper'"}}, "'paper'"),
    "softmatch with a threshold": ({"training": {"rule": "'softmatch'"}}, "SelfTraining"),
    "no threshold": ({"training": {"threshold": "None"}}, "SelfTraining"),
    "softmatch that accumulates": (
        {"training": {"rule": "'softmatch'", "threshold": "None", "memory": "'accumulate'"}},
        "accumulate",
    ),
    "softmatch by examples": (
        {"training": {"rule": "'softmatch'", "threshold": "None"}},
        "in-context",
    ),
    "smoothed labels of examples": (
        {"training": {"label_smoothing": "0.1"}, "space": {"methods": "(examples,)"}},
        "label_smoothing",
    ),
    "smoothed labels of texts": (
        {
            "training": {"label_smoothing": "0.1"},
            "space": {"methods": "(lora,)"},
            "lora": {"loss": "'text'"},
        },
        "loss='text'",
    ),
    "calibration without labels": ({"training": {"calibration": "'temperature'"}}, "n_validation"),
    "labels without calibration": ({"training": {"n_validation": "1"}}, "n_validation"),
    "validation of more items than there are": (
        {"training": {"n_validation": "1000", "calibration": "'temperature'"}},
        "pool",
    ),
    "examples that are trained on": (
        {"training": {"start": "'continue'"}, "space": {"methods": "(examples,)"}},
        "'continue'",
    ),
    "a probe that is trained on": (
        {"training": {"start": "'continue'"}, "space": {"methods": "(probe,)"}},
        "'continue'",
    ),
    "one level by level": (
        {"training": {"admission": "'by-level'"}, "ssrm": {"unlabelled": "('hard',)"}},
        "by-level",
    ),
    "a threshold below chance": ({"training": {"threshold": "0.2"}}, "0.2"),
    "gold labels cut what is self-trained": (
        {
            "axis": {"measure": "'answer_chars'", "test_levels": "(hard,)"},
            "easy": {"high": "1"},
            "hard": {"low": "2"},
        },
        "answer_chars",
    ),
    "reasoning that chooses": ({"lora": {"reasoning": "reasoning"}}, "loss='text'"),
    "reasoning in all orders": (
        {"examples": {"reasoning": "reasoning", "orders": "'all'"}},
        "orders='given'",
    ),
    "reasoning that is scored": (
        {"lora": {"reasoning": "reasoning", "loss": "'text'", "scoring": "'pmi'"}},
        "scoring='sum'",
    ),
    "a prompt without reasoning": (
        {
            "lora": {"reasoning": "reasoning", "loss": "'text'"},
            "axis": {"reasoning_prompt": "'default'"},
        },
        "reasoning_prompt",
    ),
    "rewards of texts": ({"lora": {"head": "'scalar'", "loss": "'text'"}}, "scalar"),
    "rewards scored otherwise": ({"lora": {"head": "'scalar'", "scoring": "'pmi'"}}, "scalar"),
    "updates that are no interval": (
        {"lora": {"min_updates": "3", "max_updates": "2"}},
        "min_updates",
    ),
    "int8 over workers": (
        {"footprint": {"engine": "'zero-1'"}, "lora": {"quantization": "'int8'"}},
        "int8",
    ),
    "nf4 in pieces": (
        {"footprint": {"engine": "'zero-3'"}, "space": {"methods": "(qlora,)"}},
        "nf4",
    ),
    "dropout over workers": (
        {"footprint": {"engine": "'zero-2'", "workers": "2"}, "lora": {"dropout": "0.1"}},
        "dropout",
    ),
    "scalar head in pieces": (
        {"footprint": {"engine": "'zero-3'"}, "lora": {"head": "'scalar'"}},
        "scalar",
    ),
    "half precision over workers": (
        {"footprint": {"engine": "'zero-1'"}, "model": {"dtype": "'bfloat16'"}},
        "bfloat16",
    ),
    "offload without ZeRO": ({"footprint": {"offload": "True"}}, "offload"),
    "hardness of sizes without training": ({"hardness": {"sizes": "(1, 2)"}}, "sizes"),
    "hardness of training without sizes": ({"hardness": {"method": "probe"}}, "sizes"),
    "hardness of falling sizes": (
        {"hardness": {"method": "probe", "sizes": "(2, 1)"}},
        "sizes",
    ),
    "hardness of generated answers": (
        {"hardness": {"method": "ZeroShot(reasoning=reasoning)"}},
        "mdl",
    ),
    "hardness that makes no such measure": ({"axis": {"measure": "'mdl:odd'"}}, "mdl:odd"),
    "policy of no self-training": (
        {
            "space": {"policy": "PolicyDPO()", "methods": "(lora,)"},
            "axis": {"task": "'micro_preferences'", "conditions": "()"},
        },
        "policy",
    ),
    "policy of another task": (
        {"space": {"policy": "PolicyDPO()", "methods": "(lora,)"}},
        "micro_preferences",
    ),
    "policy of another method": (
        {"space": {"policy": "PolicyDPO()"}, "axis": {"task": "'micro_preferences'"}},
        "policy",
    ),
    "policy of its own labels": (
        {
            "space": {"policy": "PolicyDPO(labels='gold')", "methods": "(lora,)"},
            "axis": {"task": "'micro_preferences'"},
        },
        "labels",
    ),
}
"""What is wrong with fields together, and what the message names."""

ALSO_GOOD: Mapping[str, Edits] = {
    "as it is": {},
    "half precision": {"model": {"dtype": "'bfloat16'"}},
    "quantized": {"lora": {"quantization": "'int8'"}, "qlora": {"dropout": "0.1"}},
    "quantized over workers": {
        "footprint": {"engine": "'zero-2'", "workers": "4", "offload": "True"},
        "space": {"methods": "(qlora,)"},
    },
    "a scalar head": {"lora": {"head": "'scalar'"}},
    "texts": {"lora": {"loss": "'text'"}, "full": {"loss": "'text'"}},
    "level by level": {"training": {"admission": "'by-level'"}},
    "softmatch": {
        "training": {"rule": "'softmatch'", "threshold": "None"},
        "space": {"methods": "(probe, lora)"},
    },
    "smoothed and trained on": {
        "training": {"label_smoothing": "0.1", "start": "'continue'"},
        "space": {"methods": "(lora, full)"},
    },
    "calibrated": {"training": {"calibration": "'temperature'", "n_validation": "1"}},
    "the contrast of self-training": {
        "first": {"condition": "'ssrm'"},
        "second": {"condition": "'start'"},
    },
    "split paper": {"space": {"split": "'paper'"}, "axis": {"conditions": "(noisy,)"}},
    "quantiles": {
        "axis": {
            "bounds": "'quantiles'",
            "scale": "'quantiles'",
            "measure": "'depth'",
            "test_levels": "(hard,)",
        },
        "easy": {"low": "0", "high": "0.5"},
        "hard": {"low": "0.5", "high": "1"},
    },
    "hardness that is not made": {
        "axis": {
            "measure": "'mdl:prequential'",
            "bounds": "'quantiles'",
            "scale": "'quantiles'",
            "test_levels": "(hard,)",
            "conditions": "(noisy,)",
        },
        "easy": {"low": "0", "high": "0.5"},
        "hard": {"low": "0.5", "high": "1"},
    },
    "kept adapters": {"space": {"keep": "'adapters'"}},
    "hardness of training": {"hardness": {"method": "probe", "sizes": "(1, 2)"}},
    "policies": {
        "space": {"policy": "PolicyDPO()", "methods": "(lora,)"},
        "axis": {"task": "'micro_preferences'", "test_levels": "(hard,)"},
        "training": {"threshold": "0.6"},
    },
}
"""Fields that go together where one alone would not."""
