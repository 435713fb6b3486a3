"""Makes a study of small Informers of a reference: seven inputs, 336 -> 96, no calendar.

python doc/examples/informer/small.py runs/STUDY/hyperparameter_reference.json
"""

import json
import sys

START = {
    "seq_len": 336,
    "label_len": 24,
    "embedding": "none",
    "d_model": 32,
    "n_heads": 4,
    "d_ff": 64,
    "e_layers": 1,
    "batch_size": 64,
    "lr": 0.001,
}
SMALL = {"d_model": [16, 32], "n_heads": [2, 4], "d_ff": [32, 64], "batch_size": [64, 128]}
STILL = ("embedding", "e_layers", "d_layers")


def main(path: str) -> None:
    with open(path, encoding="utf-8") as stream:
        reference = json.load(stream)
    parameters = reference["parameters"]
    for name, value in START.items():
        parameters[name]["active_value"] = value
    for name, choices in SMALL.items():
        parameters[name] |= {"choices": choices, "default": choices[0]}
    for name in STILL:
        parameters[name]["tune"] = False
    with open(path, "w", encoding="utf-8") as stream:
        json.dump(reference, stream, indent=2)


if __name__ == "__main__":
    main(sys.argv[1])
