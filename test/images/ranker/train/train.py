"""Trains the ranker and writes its weights and the scores that prove them.

Data: the Wisconsin diagnostic breast-cancer set that ships inside scikit-learn
(569 biopsies, 30 measurements each). The score of a biopsy is the probability
that it is malignant, so that sorting a list by score gives the order in which a
pathologist should look at it.

Writes, under testdata/:
  model.onnx     the network, standardisation included, float32
  expected.json  held-out biopsies with scikit-learn's own scores
  request.json   an infer request (4 biopsies)    and response.json, its answer
  batch.json     an infer request (64 biopsies), for load

Run: python train.py   (the versions in requirements.txt; a few seconds)
"""

import json
from pathlib import Path

import numpy as np
import onnx
import sklearn
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

SEED = 20
HIDDEN = (192, 192)
TESTDATA = Path(__file__).resolve().parent.parent / "testdata"


def train():
    """Returns the fitted pipeline, the held-out (inputs, labels) and the feature names."""
    data = load_breast_cancer()
    # float32 all the way, as the served graph computes; label 1 is malignant.
    x = data.data.astype(np.float32)
    y = 1 - data.target
    x_train, x_test, y_train, y_test = train_test_split(
        x, y, test_size=0.2, stratify=y, random_state=SEED
    )
    # A strong L2 penalty keeps scores away from 0 and 1, where every order looks alike.
    pipeline = make_pipeline(
        StandardScaler(),
        MLPClassifier(HIDDEN, alpha=5.0, max_iter=200, random_state=SEED),
    )
    pipeline.fit(x_train, y_train)
    return pipeline, x_test, y_test, [str(n) for n in data.feature_names]


def to_onnx(pipeline, features):
    """The pipeline as plain tensor ops: candidates [n, 30] float32 -> score [n] float32."""
    scaler, mlp = pipeline[0], pipeline[1]
    nodes, weights = [], []

    def weight(name, value):
        weights.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def node(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], name=output, **attributes))
        return output

    h = node("Sub", ["candidates", weight("mean", scaler.mean_)], "centred")
    h = node("Div", [h, weight("scale", scaler.scale_)], "standardised")
    layers = list(zip(mlp.coefs_, mlp.intercepts_))
    for i, (w, b) in enumerate(layers):
        h = node("MatMul", [h, weight(f"w{i}", w)], f"product{i}")
        h = node("Add", [h, weight(f"b{i}", b)], f"layer{i}")
        if i < len(layers) - 1:
            h = node("Relu", [h], f"relu{i}")
    # The logistic function, by the ops that onnx-gomlx has: (1 + tanh(x/2)) / 2.
    h = node("Mul", [h, weight("half", 0.5)], "half_logit")
    h = node("Tanh", [h], "tanh")
    h = node("Add", [h, weight("one", 1.0)], "one_plus_tanh")
    h = node("Mul", [h, "half"], "probability")
    flat = numpy_helper.from_array(np.array([-1], np.int64), "flat")
    node("Reshape", [h, "flat"], "score")

    graph = helper.make_graph(
        nodes,
        "ranker",
        [helper.make_tensor_value_info("candidates", TensorProto.FLOAT, ["n", len(features)])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        weights + [flat],
    )
    model = helper.make_model(
        graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)], producer_name="train.py"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def shortest(array):
    """Nested lists of the shortest decimals that read back as the same float32."""
    if array.ndim > 1:
        return [shortest(row) for row in array]
    return [float(str(v)) for v in array]


def infer_request(request_id, rows):
    return {
        "id": request_id,
        "inputs": [
            {
                "name": "candidates",
                "datatype": "FP32",
                "shape": list(rows.shape),
                "data": shortest(rows),
            }
        ],
    }


def infer_response(request_id, scores):
    order = np.argsort(-scores, kind="stable")
    return {
        "model_name": "ranker",
        "id": request_id,
        "outputs": [
            {"name": "score", "datatype": "FP32", "shape": [len(scores)], "data": shortest(scores)},
            {"name": "order", "datatype": "INT64", "shape": [len(scores)], "data": order.tolist()},
        ],
    }


def write(name, value):
    # One row of numbers a line: readable, and a retrained model gives a readable diff.
    text = json.dumps(value, indent=None, separators=(", ", ": "))
    text = text.replace("], [", "],\n[").replace("}, {", "},\n{")
    (TESTDATA / name).write_text(text + "\n")


def main():
    pipeline, x_test, y_test, features = train()
    scores = pipeline.predict_proba(x_test)[:, 1].astype(np.float32)
    model = to_onnx(pipeline, features)

    replayed = ReferenceEvaluator(model).run(None, {"candidates": x_test})[0]
    worst = float(np.abs(replayed - scores).max())
    if worst > 1e-6:
        raise SystemExit(f"the exported graph differs from scikit-learn by {worst:.2e}")

    TESTDATA.mkdir(exist_ok=True)
    onnx.save(model, TESTDATA / "model.onnx")
    write(
        "expected.json",
        {
            "trained_with": f"scikit-learn {sklearn.__version__}",
            "held_out_auc": round(float(roc_auc_score(y_test, scores)), 4),
            "features": features,
            "candidates": shortest(x_test),
            "scores": shortest(scores),
        },
    )
    write("request.json", infer_request("four-biopsies", x_test[:4]))
    write("response.json", infer_response("four-biopsies", scores[:4]))
    write("batch.json", infer_request("sixty-four-biopsies", x_test[:64]))

    size = (TESTDATA / "model.onnx").stat().st_size
    print(f"held out: {len(x_test)} biopsies, AUC {roc_auc_score(y_test, scores):.4f}")
    print(f"scores between {scores.min():.4f} and {scores.max():.4f}, median {np.median(scores):.4f}")
    print(f"model.onnx: {size} bytes; differs from scikit-learn by at most {worst:.1e}")


if __name__ == "__main__":
    main()
