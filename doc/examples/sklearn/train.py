"""A support vector machine on scikit-learn's breast cancer data: one fold of a stratified cross-validation.

A fifth of the data is set aside as the test set and never seen by training; `--test` evaluates a saved model on it.
"""

import argparse
import json
from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import accuracy_score, f1_score, recall_score
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--c", type=float, default=1.0)
    parser.add_argument("--kernel", choices=["rbf", "linear"], default="rbf")
    parser.add_argument("--gamma", type=float, default=0.03)
    parser.add_argument("--balanced", choices=["true", "false"], default="false")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--summary", type=Path, required=True)
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()

    data = load_breast_cancer()
    x, x_test, y, y_test = train_test_split(
        data.data, data.target, test_size=0.2, stratify=data.target, random_state=0
    )
    if options.test:
        write_summary(options.summary, joblib.load(options.model), x_test, y_test, data.target_names)
        return
    splitter = StratifiedKFold(max(options.folds, 2), shuffle=True, random_state=options.seed)
    fit, held_out = list(splitter.split(x, y))[options.fold]
    weight = "balanced" if options.balanced == "true" else None
    machine = SVC(C=options.c, kernel=options.kernel, gamma=options.gamma, class_weight=weight)
    model = make_pipeline(StandardScaler(), machine).fit(x[fit], y[fit])
    joblib.dump(model, options.model)
    write_summary(options.summary, model, x[held_out], y[held_out], data.target_names)


def write_summary(path, model, x, y, names) -> None:
    predicted = model.predict(x)
    recall = recall_score(y, predicted, average=None)
    summary = {
        "accuracy": accuracy_score(y, predicted),
        "macro_f1": f1_score(y, predicted, average="macro"),
        "samples": len(y),
        "per_class": {str(name): {"recall": float(value)} for name, value in zip(names, recall, strict=True)},
    }
    path.write_text(json.dumps(summary))


if __name__ == "__main__":
    main()
