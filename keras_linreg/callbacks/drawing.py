"""The picture of a fit: the line or the predictions, and the loss beside them; and the moving one."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Frame:
    """What is drawn of one epoch."""

    epoch: int
    predicted: np.ndarray  # (rows, outputs)
    bands: dict | None = None  # of `predict_interval`, arrays (rows, outputs), where the model knows them


def picture(sample, frame, history):
    """Return a Figure of the predictions of a frame, with the loss so far beside them."""
    from keras_linreg import plots

    # The one loss of an exact fit makes no curve.
    picture, axes = plots.figure(panels=2 if len(history[0]) > 1 else 1)
    paint(axes, sample, frame, history)
    return picture


def paint(axes, sample, frame, history):
    """Draw that on Axes that are there already: one, or two where there is a loss."""
    from keras_linreg import plots

    target = sample.targets[0] if sample.targets is not None and len(sample.targets) == 1 else None
    if sample.grid is not None:
        plots.fitted_line(
            *(axes[0], sample.points, sample.y, sample.grid, frame.predicted),
            xlabel=sample.feature,
            ylabel=target or "y",
            label=None if target else sample.targets,
            bands=frame.bands,
        )
    else:
        plots.actual_vs_predicted(axes[0], sample.y, frame.predicted, names=sample.targets, unit=target)
    plots.title(axes[0], f"Epoch {frame.epoch:,}" if frame.epoch else "Before training")
    if len(axes) > 1:
        epochs, loss, _ = history
        plots.loss_curve(axes[1], *history)
        if epochs[-1] == frame.epoch and np.isfinite(loss[-1]):
            plots.title(axes[1], f"Loss {loss[-1]:.4g}")


def animate(file, sample, frames, history):
    """Write the GIF of the frames, on axes that hold still, so that what moves is the fit."""
    from keras_linreg import plots

    picture, axes = plots.figure(panels=2 if len(history[0]) else 1)
    # A fit that overshoots leaves the picture rather than squeeze the data into a corner.
    predicted = [frame.predicted for frame in frames]
    low, high = plots.padded_range(sample.y, *predicted, reach=0.3)

    def steps():
        for frame in frames:
            for ax in axes:
                ax.clear()
            paint(axes, sample, frame, history)
            axes[0].set_ylim(low, high)
            if sample.grid is None:
                axes[0].set_xlim(low, high)
            for line in axes[1].lines if len(axes) > 1 else ():
                # Cut after drawing it all: the axes keep the limits and the scale of the whole.
                data = np.stack(line.get_data())
                line.set_data(*data[:, data[0] <= frame.epoch])
            yield frame.epoch

    plots.save_gif(file, picture, steps())
