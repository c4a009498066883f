"""StepCache: the compiled steps of a model, kept from one fit to the next."""

from keras_linreg.training.loop.step_functions import StepFunctions, SteppedModel


class StepCache:
    """Keeps the compiled steps of a model, and the time that its fits without them have taken.

    A model makes a new one whenever it is compiled.

    Args:
        use_xla: whether XLA may compile the steps.
    """

    def __init__(self, use_xla: bool):
        self._use_xla = use_xla
        self._functions: dict[str, StepFunctions] = {}
        self._seconds: dict[tuple, float] = {}

    def clear(self) -> None:
        """Forget the compiled steps: the model has other variables now."""
        self._functions.clear()

    def functions(self, model: SteppedModel, method: str) -> StepFunctions:
        """Return the compiled functions of the model's `"train_step"` or `"test_step"`."""
        if method not in self._functions:
            self._functions[method] = StepFunctions(model, method, self._use_xla)
        return self._functions[method]

    def add_seconds(self, key: tuple, seconds: float) -> float:
        """Add the seconds that a fit takes in Keras's loop; return the sum for all fits with the same key."""
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        return self._seconds[key]
