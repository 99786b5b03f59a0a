"""Denoisers of one labelled batch: E[x | z_t, label] where the network knows classes.

Losses and samplers ask a denoiser about latents and times alone. Whose label is whose is therefore part of the
denoiser: wrapped together with the labels of a batch, a network with classes works wherever one without does.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from ..core.checks import check_instance
from ..degradations.process import Time
from .denoiser import AbstractDenoiser, Denoiser, estimate
from .labels import check_labels


class BatchDenoiser(AbstractDenoiser):
    """A denoiser of batches of one length, each row of which has a label; see its subclasses.

    Args:
        denoiser: a denoiser whose network knows classes.
        labels: label of each row, (batch,), 0 .. classes - 1; `classes` means "no label".

    Attributes:
        denoiser: the denoiser.
        labels: the labels, on the process's device when the denoiser was made; they move with it.

    Raises:
        TypeError: `denoiser` is no `Denoiser`, or the labels are not integers.
        ValueError: the network knows no classes, or a label lies outside 0 .. classes (where values are free to read).
    """

    labels: Tensor

    def __init__(self, denoiser: Denoiser, labels: Int[Tensor, " batch"]) -> None:
        check_instance("denoiser", denoiser, Denoiser, "Denoiser(UNet(shape, classes=10), ...) for example")
        super().__init__(denoiser.process)
        check_labels(labels, denoiser.known_classes())
        self.denoiser = denoiser
        self.prediction = denoiser.prediction
        self.network_calls = denoiser.network_calls
        self.data_range = denoiser.data_range
        self.rows = len(labels)
        self.register_buffer("labels", labels.detach().to(denoiser.process.device), persistent=False)

    def forward(self, z_t: Float[Tensor, "batch ..."], t: Time) -> Float[Tensor, "batch ..."]:
        """Return the estimate x_hat of the data, (batch, *shape).

        Args:
            z_t: latents, one for each label, (batch, *shape).
            t: times in [0, 1], a number, () or (batch,).

        Raises:
            TypeError: an argument is not floating-point.
            ValueError: a shape is wrong, a time outside [0, 1], or the batch has another length than the labels.
        """
        return estimate(self, z_t, t)

    def labels_of(self, rows: slice | Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        """Return the labels of these rows.

        Raises:
            ValueError: the rows reach beyond the labels.
        """
        if isinstance(rows, slice) and rows.stop is not None and rows.stop > len(self.labels):
            msg = (
                f"rows up to {rows.stop} are asked for, but this denoiser was given {len(self.labels)} labels: give one"
                " for each sample"
            )
            raise ValueError(msg)
        return self.labels[rows if isinstance(rows, slice) else rows.to(self.labels.device)]

    def check_batch(self, z_t: Tensor) -> None:
        """Check that there is one label for each latent.

        Raises:
            ValueError: there is not.
        """
        if len(z_t) != len(self.labels):
            msg = (
                f"this denoiser was given {len(self.labels)} labels but meets a batch of {len(z_t)}: draw as many"
                " samples as there are labels, or take the rows of a part of them, denoiser.select(slice(...))"
            )
            raise ValueError(msg)


class LabelledDenoiser(BatchDenoiser):
    """The denoiser of a batch whose labels are known: E[x | z_t, label], row by row.

    Args:
        denoiser: a denoiser whose network knows classes.
        labels: label of each row, (batch,), 0 .. classes - 1; `classes` means "no label".

    Raises:
        TypeError: `denoiser` is no `Denoiser`, or the labels are not integers.
        ValueError: the network knows no classes, or a label lies outside 0 .. classes (where values are free to read).
    """

    def output(self, z_t: Float[Tensor, "batch ..."], t: Float[Tensor, "*batch"]) -> Float[Tensor, "batch ..."]:
        """Return the raw prediction under the labels, (batch, *shape).

        Raises:
            ValueError: the batch has another length than the labels, or the network returns another shape.
        """
        self.check_batch(z_t)
        return self.denoiser.output(z_t, t, self.labels)

    def select(self, rows: slice | Int[Tensor, " rows"]) -> LabelledDenoiser:
        """Return the denoiser of these rows of the batch.

        Raises:
            ValueError: they reach beyond the labels.
        """
        return LabelledDenoiser(self.denoiser, self.labels_of(rows))
