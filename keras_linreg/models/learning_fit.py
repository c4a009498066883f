"""A fit from which a formula learns, or nothing at all."""

import functools
from collections.abc import Callable
from typing import Any

from keras_linreg.data import TablePreprocessor


def learning_fit(fit: Callable[..., Any]) -> Callable[..., Any]:
    """Return a method that fits, and that leaves the model's formula as it was if an error leaves the model unbuilt."""

    @functools.wraps(fit)
    def fit_or_forget(self: Any, *args: Any, **kwargs: Any) -> Any:
        preprocessor = self.preprocessor
        is_fresh = isinstance(preprocessor, TablePreprocessor) and not preprocessor.is_adapted
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            if is_fresh and not self.built:
                preprocessor.forget()
            raise

    return fit_or_forget
