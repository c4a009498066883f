"""Every private name of Keras, KerasTuner and TensorFlow that this package touches, each in a function with its reason.

`tests/test_keras_compat.py` has a canary for each: it fails, and names the hook, when a new version moves it.
"""

import functools
import io
import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras.src.saving import saving_api, saving_lib
from keras.src.utils import io_utils

# The attribute of a TensorFlow variable with the name under which it is copied into a graph. Names of columns may not
# be names of operations, so `export` changes it for a while; TensorFlow has no public way.
HANDLE_NAME = "_handle_name"


def check_backend() -> None:
    """Refuse a backend of Keras other than TensorFlow.

    Raises:
        ImportError: Keras has one.
    """
    if keras.backend.backend() != "tensorflow":
        raise ImportError(
            "keras_linreg needs Keras's TensorFlow backend: set KERAS_BACKEND=tensorflow before keras is imported. "
            f"Received: backend={keras.backend.backend()!r}."
        )


def is_package_method(model: keras.Model, method: str) -> bool:
    """Return whether a method of a model is defined in this package, and not overridden in a user's subclass."""
    owner = next(owner for owner in type(model).__mro__ if method in vars(owner))
    return owner.__module__.startswith("keras_linreg.")


def is_package_class(kind: type) -> bool:
    """Return whether a class is defined in this package."""
    return kind.__module__.startswith("keras_linreg.")


def callback_list(callbacks: Any) -> list[Any]:
    """Return the callbacks in a list, from all that `fit` takes: `None`, one, a nested list, or a `CallbackList`."""
    return keras.tree.flatten(getattr(callbacks, "callbacks", callbacks) or [])


def is_internal_signature(key: str) -> bool:
    """Return whether TensorFlow, not the exporter, has added the signature `key` to a SavedModel.

    TensorFlow adds one that runs the initialisers of tables, and has no public name for it.
    """
    return key == "__saved_model_init_op"


def unbuild(model: keras.Model) -> None:
    """Let a model add variables again, as before it was built; its attributes that hold variables are deleted first.

    A fit that fails must leave an unbuilt model unbuilt, and Keras can only build. `_tracker.unlock` is private: the
    lock has no public key.
    """
    model._tracker.unlock()
    model.built = False


def delete_variable(layer: keras.layers.Layer, name: str) -> None:
    """Delete the attribute of a layer that holds a variable, and the variable among those of the layer.

    `del layer.kernel` also collects the garbage of the whole process, which takes up to a second in a large one. Keras
    does so for the memory of a GPU, and the next collection frees it as well. `_untrack_variable` is private: `del`
    alone calls it.
    """
    layer._untrack_variable(getattr(layer, name))
    super(keras.layers.Layer, layer).__delattr__(name)


def unbuild_optimizer(optimizer: keras.Optimizer, variables: int) -> None:
    """Let an optimizer be built again for other weights: its first `variables` variables, of no weight, are left.

    A fit that fails must leave an unbuilt model unbuilt, and Keras can only build. `_variables` and
    `_trainable_variables_indices` are private: `variables` is a copy of the first, and nothing tells the second.
    """
    inner = getattr(optimizer, "inner_optimizer", None)
    if inner is not None:  # the variables of a LossScaleOptimizer are its own two, and those of the inner one
        own = len(optimizer.variables) - len(inner.variables)
        unbuild_optimizer(inner, max(0, variables - own))
        variables = min(variables, own)
    del optimizer._variables[variables:]
    optimizer._trainable_variables_indices.clear()
    optimizer.built = False


def initial_epoch(model: keras.Model) -> int | None:
    """Return the epoch that BackupAndRestore lets a fit begin with, or None.

    The callback hands it to `fit` by the private `_initial_epoch`, and has no public way to ask for it.
    """
    return model._initial_epoch


def forget_initial_epoch(model: keras.Model) -> None:
    """Let the next fit begin with its own first epoch: Keras forgets to reset what BackupAndRestore has set."""
    model._initial_epoch = None


def average_losses_in_float64(model: keras.Model) -> None:
    """Have `evaluate` average the losses of batches in float64.

    Keras's own `_loss_tracker` averages in floatx, and loses half the digits. It cannot be chosen by a public argument.
    """
    if model._loss_tracker.dtype != "float64":
        with model.distribute_strategy.scope():
            object.__setattr__(model, "_loss_tracker", keras.metrics.Mean(name="loss", dtype="float64"))


def is_call_of_fit(arguments: dict[str, Any]) -> bool:
    """Return whether `fit` itself calls `evaluate`, on validation data that are prepared already.

    Keras tells `evaluate` so by the private argument `_use_cached_eval_dataset`.
    """
    return bool(arguments.get("_use_cached_eval_dataset"))


def ask_to_overwrite(path: str) -> bool:
    """Ask the user whether to overwrite a file, as Keras does for `overwrite=False`; return the answer.

    Keras asks inside of `save`, about the path that it writes to. We write elsewhere, and Keras exports no function
    that asks.
    """
    return bool(io_utils.ask_to_proceed_with_overwrite(path))


def weights_file(model: keras.Model) -> bytes:
    """Return the content of the file that `keras.Model.save_weights` writes.

    Keras lets HDF5 write to the disk, and HDF5 ends the process where the disk is full. Keras can write to memory, too,
    and does so in `save`, but exports no function for it.
    """
    memory = io.BytesIO()
    store = saving_lib.H5IOStore(memory, mode="w")
    try:
        saving_lib._save_state(model, weights_store=store, assets_store=None, inner_path="", visited_saveables=set())
    finally:
        store.close()
    return memory.getvalue()


def wrap_load_model(wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put a function around `keras.models.load_model`, once; all its public names are one function.

    A damaged file never reaches our classes: Keras raises "File not found" for one that is cut off.
    """
    original = saving_api.load_model
    if original.__module__ == __name__:
        return
    wrapped = wrap(original)
    wrapped.__module__ = __name__
    for module in (saving_api, keras.saving, keras.models):
        if module.load_model is original:
            module.load_model = wrapped


class BuildsMetricsItself:
    """A model that builds its loss and metrics itself, once `has_built_metrics` says so.

    Under a strategy Keras's private `_maybe_symbolic_build` builds them by the mean of a batch over the replicas, which
    fails if the replicas have different numbers of rows.
    """

    @property
    def has_built_metrics(self) -> bool:
        """Whether loss and metrics are built."""
        raise NotImplementedError

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        if not self.has_built_metrics:
            super()._maybe_symbolic_build(iterator, data_batch)  # type: ignore[misc]


class Search(NamedTuple):
    """A search of KerasTuner.

    Attributes:
        tuner: the `keras_tuner.Tuner`.
        trial: the trial that runs now.
        checkpoint: the path of its best weights.
    """

    tuner: Any
    trial: Any
    checkpoint: str


def current_search(callbacks: Iterable[Any] | None) -> Search | None:
    """Return the search that has called `HyperModel.fit` with these callbacks, or None outside of a search.

    KerasTuner passes neither the tuner nor the trial to `HyperModel.fit`. But its tuner adds two private callbacks:
    `TunerCallback` holds both, and `SaveBestEpoch` holds the path.
    """
    callbacks = list(callbacks or ())
    for callback in callbacks:
        if hasattr(callback, "tuner") and hasattr(callback, "trial"):
            saver = next(c for c in callbacks if hasattr(c, "objective") and hasattr(c, "filepath"))
            return Search(callback.tuner, callback.trial, saver.filepath)
    return None


def objective_parts(objective: Any) -> list[Any]:
    """Return an objective of KerasTuner, followed by the objectives that it sums up, if it is a private MultiObjective.

    KerasTuner asks for a value of each.
    """
    return [objective, *getattr(objective, "objectives", [])]


def replace_infinite_scores(oracle: Any) -> None:
    """Let the oracle of `BayesianOptimization` see the worst finite score in place of an infinite one.

    KerasTuner hands scores to its Gaussian process through `nan_to_num`, which makes infinity 0: the best of all
    losses. No public method changes a score on the way, so we change the scores while `populate_space` runs; the user
    still finds infinity in `trial.score`. The oracle of a distributed search runs in another process, out of reach.
    """
    import keras_tuner  # optional, and slow to import

    is_wrapped = hasattr(oracle.populate_space, "__wrapped__")
    if is_wrapped or not isinstance(oracle, keras_tuner.oracles.BayesianOptimizationOracle):
        return
    populate_space = oracle.populate_space

    @functools.wraps(populate_space)
    def with_finite_scores(trial_id: str) -> Any:
        scores = {trial: trial.score for trial in oracle.trials.values() if trial.score is not None}
        finite = [score for score in scores.values() if math.isfinite(score)]
        worst = max if oracle.objective.direction == "min" else min
        for trial, score in scores.items():
            trial.score = score if math.isfinite(score) else worst(finite, default=0.0)
        try:
            return populate_space(trial_id)
        finally:
            for trial, score in scores.items():
                trial.score = score

    oracle.populate_space = with_finite_scores


def profiles_batches(callback: keras.callbacks.TensorBoard) -> bool:
    """Return whether a TensorBoard callback profiles some batches.

    Keras keeps the user's `profile_batch` in the private `_should_trace` alone.
    """
    return bool(callback._should_trace)


def tuner_of_callback(callback: Any) -> Any | None:
    """Return the tuner to which KerasTuner's private `TunerCallback` passes all hooks, or None for other callbacks."""
    return callback.tuner if _is_defined_in_keras_tuner(type(callback)) and hasattr(callback, "tuner") else None


def tuner_watches_batches(tuner: Any) -> bool:
    """Return whether a tuner has its own hooks for batches; those of KerasTuner do nothing."""
    return not all(_is_defined_in_keras_tuner(hook) for hook in (tuner.on_batch_begin, tuner.on_batch_end))


def _is_defined_in_keras_tuner(thing: Any) -> bool:
    # By name: KerasTuner is optional and slow to import, and has no public name for its callback.
    return thing.__module__.startswith("keras_tuner.")


def variable_reader(variable: keras.Variable) -> Callable[[], tf.Tensor]:
    """Return a function that reads a variable's value; later steps do not change the tensor that it returns.

    TensorFlow's class of plain variables is private, so it is known by its name. We read its handle by the op itself:
    the public methods around the op take longer than the read, and we read each weight at every step.
    """
    value = variable.value
    if type(value).__name__ == "ResourceVariable":
        return functools.partial(tf.raw_ops.ReadVariableOp, resource=value.handle, dtype=value.dtype)
    return functools.partial(tf.identity, value)


def is_xla_error(error: Exception) -> bool:
    """Return whether XLA has refused to compile a function.

    TensorFlow has no class for such errors: only their text tells.
    """
    return any(word in str(error) for word in ("XLA", "tf2xla", "jit_compile", "_XlaMustCompile"))


def part_of_keras(thing: Any) -> str | None:
    """Return the part of Keras that defines a class or function, such as "losses", or None if Keras does not.

    Public names do not tell: a user may put a class under the same name. The private module of the definition does.
    """
    package, _, rest = thing.__module__.partition("keras.src.")
    return None if package or not rest else rest.partition(".")[0]


def state_of_instance(instance: Any) -> dict[str, Any]:
    """Return the attributes of a loss, metric, optimizer, regularizer and the like that steps depend on.

    Those left out are bookkeeping: trackers, lists of variables (each variable has an attribute of its own, too), a
    cache, and the optimizer's name, which is counted up.
    """
    left_out = {
        "_tracker",
        "_distribution_strategy",
        "_lock",
        "_variables",
        "_trainable_variables",
        "_trainable_variables_indices",
        "_exclude_from_weight_decay_cache",
    }
    if isinstance(instance, keras.optimizers.Optimizer):
        left_out.add("name")
    state = vars(instance).items()
    return {name: value for name, value in state if name not in left_out and not name.startswith("_self_")}


def program_without_variables(concrete: Any) -> Any:
    """Return the program of a concrete function, to be called with other variables than it was traced with.

    TensorFlow has no public way to call one with other captures.
    """
    return concrete.inference_fn


def program_with_variables(program: Any, handles: list[Any]) -> Callable[..., Any]:
    """Return a function that calls a program with the handles of variables, in the order of its captured inputs."""
    return lambda *arguments: program.call_with_captures(arguments, {}, handles)
