"""What is kept from fit to fit: the compiled functions of a model's steps, and the time that fits without them took."""

from keras_linreg.training.loop.functions import Functions


class Memory:
    """Kept by a model until it is compiled anew.

    Args:
        may_compile: whether XLA may compile.
    """

    def __init__(self, may_compile: bool):
        self._may_compile = may_compile
        self._by_step: dict[str, Functions] = {}
        self._seconds: dict[tuple, float] = {}

    def functions(self, model, step: str) -> Functions:
        """Return the functions of a model's step, `"train_step"` or `"test_step"`."""
        if step not in self._by_step:
            self._by_step[step] = Functions(model, step, self._may_compile)
        return self._by_step[step]

    def add_seconds(self, key: tuple, seconds: float) -> float:
        """Note how long a fit takes without the compiler; return how long all of the same key take together."""
        self._seconds[key] = self._seconds.get(key, 0.0) + seconds
        return self._seconds[key]
