"""Write linear_shap.json: SHAP values of a linear model by shap's LinearExplainer. The tests do not need shap.

    python tests/reference/linear_shap.py        with numpy, scikit-learn and shap 0.51 installed

The features are independent of each other for the explainer (`Independent`), and all rows are its background.
"""

import json
from pathlib import Path

import numpy as np
import shap
from sklearn.linear_model import LinearRegression

ROWS, COLUMNS = 120, 4


def main() -> None:
    rng = np.random.default_rng(7)
    x = (
        rng.normal(size=(ROWS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS)) * [1, 10, 0.1, 1] + [0, 50, 1, -3]
    ).round(6)
    y = (x @ [1.0, -0.2, 5.0, 0.5] + rng.normal(size=ROWS)).round(6)
    model = LinearRegression().fit(x, y)
    explainer = shap.LinearExplainer(model, shap.maskers.Independent(x, max_samples=ROWS))
    explained = explainer(x[:10])
    path = Path(__file__).with_suffix(".json")
    numbers = {"x": x, "y": y, "values": explained.values, "base_values": explained.base_values}
    path.write_text(
        json.dumps({"shap": shap.__version__, **{key: part.tolist() for key, part in numbers.items()}}) + "\n"
    )


if __name__ == "__main__":
    main()
