"""The picture of a fit: the line or the predictions, and the loss beside them; and the animation of several epochs."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from keras_linreg.callbacks.loss_history import LossCurves
from keras_linreg.callbacks.sample import Sample
from keras_linreg.utils.types import Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclasses.dataclass(frozen=True)
class Frame:
    """The predictions of one epoch.

    Attributes:
        epoch: its number, counted from 1; 0 before the training.
        predicted: the predictions for the inputs of the sample, `(rows, outputs)`.
        bands: the result of `predict_interval`, arrays `(rows, outputs)`; None if the model has no intervals.
        is_exact: whether the model is an exact one, whose epochs are all alike.
    """

    epoch: int
    predicted: Array
    bands: dict[str, Array] | None = None
    is_exact: bool = False

    @property
    def title(self) -> str:
        """The state of the fit in a few words."""
        if self.is_exact:
            return "Exact fit"
        return f"Epoch {self.epoch:,}" if self.epoch else "Before training"


def draw_picture(sample: Sample, frame: Frame, losses: LossCurves) -> "Figure":
    """Return a Figure of the predictions of a frame, with the loss beside them."""
    from keras_linreg import plots

    # One loss (an exact fit has no more) makes no curve.
    picture, axes = plots.figure(panels=2 if len(losses.epochs) > 1 else 1)
    draw_frame(axes, sample, frame, losses)
    return picture


def draw_frame(axes: Sequence["Axes"], sample: Sample, frame: Frame, losses: LossCurves) -> None:
    """Draw the predictions of a frame on the first of the Axes, and the loss on the second, if there is one."""
    from keras_linreg import plots

    target = sample.targets[0] if sample.targets is not None and len(sample.targets) == 1 else None
    if sample.points is not None and sample.grid is not None:
        plots.fitted_line(
            *(axes[0], sample.points, sample.y, sample.grid, frame.predicted),
            xlabel=sample.feature,
            ylabel=target or "y",
            label=None if target else sample.targets,
            bands=frame.bands,
        )
    else:
        plots.actual_vs_predicted(axes[0], sample.y, frame.predicted, names=sample.targets, unit=target)
    plots.title(axes[0], frame.title)
    if len(axes) > 1:
        plots.loss_curve(axes[1], *losses)
        if losses.epochs[-1] == frame.epoch and np.isfinite(losses.loss[-1]):
            plots.title(axes[1], f"Loss {losses.loss[-1]:.4g}")


def save_animation(file: Path, sample: Sample, frames: Sequence[Frame], losses: LossCurves) -> None:
    """Write the frames as a GIF; the limits of the axes do not change, so that only the fit moves."""
    from keras_linreg import plots

    picture, axes = plots.figure(panels=2 if len(losses.epochs) else 1)
    # A fit that overshoots may leave the picture: limits around it would squeeze the data into a corner.
    predicted = [frame.predicted for frame in frames]
    low, high = plots.padded_range(sample.y, *predicted, reach=0.3)

    def steps() -> Iterator[int]:
        for frame in frames:
            for ax in axes:
                ax.clear()
            draw_frame(axes, sample, frame, losses)
            axes[0].set_ylim(low, high)
            if sample.grid is None:
                axes[0].set_xlim(low, high)
            for line in axes[1].lines if len(axes) > 1 else ():
                # The whole curve is drawn first, so that the axes get its limits and scale; then its end is removed.
                data = np.stack(line.get_data())
                line.set_data(*data[:, data[0] <= frame.epoch])
            yield frame.epoch

    plots.save_gif(file, picture, steps())
