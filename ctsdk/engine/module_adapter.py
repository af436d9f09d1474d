"""An adapter for any network with a list of blocks, made of functions instead of a custom class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TypeAlias, TypedDict, TypeVar, Unpack

from torch import Tensor, nn
from torch.nn import functional as F

from ctsdk.engine.adapter import TrackerAdapter
from ctsdk.engine.batch import Batch, Prediction, TrackerSpec
from ctsdk.engine.session import TrackingSession
from ctsdk.engine.stages import StagePlan
from ctsdk.engine.trunk import Trunk
from ctsdk.errors import AdapterContractError, did_you_mean

__all__ = ["ModuleAdapter", "OptionalMethods"]

_NetworkT = TypeVar("_NetworkT", bound="nn.Module")
_CAPABILITIES = frozenset({"official", "session"})
_Found: TypeAlias = Prediction | Tensor | Mapping[str, Tensor]


class OptionalMethods(TypedDict, total=False):
    """The methods of :class:`ctsdk.TrackerAdapter` that have defaults; a function takes what the method takes.

    All but ``load``: it makes an adapter by name, and this one is made already.
    """

    locate: Callable[[nn.Module, Batch], Prediction]
    guidance_loss: Callable[[Prediction, Prediction, Batch], dict[str, Tensor]]
    stage_tokens: Callable[[str, object, Batch], tuple[Tensor, ...]]
    student_block: Callable[[str, StagePlan, int], nn.Module]
    session: Callable[[nn.Module], TrackingSession]
    for_dataset: Callable[[str], TrackerAdapter]
    to_official: Callable[[nn.Module], dict[str, Tensor]]
    from_official: Callable[[str | Path | Mapping[str, Tensor]], nn.Module]
    example_batch: Callable[[int], Batch]


class ModuleAdapter(TrackerAdapter):
    """An adapter made of a network, the path of its blocks, and two functions.

    For a tracker::

        adapter = ctsdk.ModuleAdapter(
            my_tracker,
            trunks="backbone.blocks",
            predict=lambda tracker, batch: tracker(batch.templates[0], batch.searches[0]),  # boxes
            task_loss=lambda prediction, batch: my_loss(prediction.boxes, batch.search_boxes[0]),
            spec=ctsdk.TrackerSpec(template_size=128, search_size=256),
        )

    For a network that is no tracker, such as a classifier, leave "session" out of the capabilities. What `predict`
    returns is then no boxes: a tensor becomes ``prediction.outputs["output"]``, a mapping becomes
    ``prediction.outputs``, ``prediction.boxes`` is zero, and guidance is the mean squared error of each output.

    Args:
        teacher: the trained network.
        trunks: the path of its one list of blocks, or paths or Trunks by name. A path alone is named by its last part.
        predict: runs the network that it is given (the teacher, a student or a mix) on a batch. It returns a
            Prediction, or of a tracker the boxes alone: (B, 4), cxcywh, shares of the search crop.
        task_loss: the network's own losses against the truth, already weighted: scalars by name, or one scalar.
        spec: what the network sees.
        name: what saved results refer to; give it to one adapter only.
        capabilities: some of "session" and "official", see :class:`ctsdk.TrackerAdapter`; empty for a network that is
            no tracker.
        **methods: other methods of the contract by their names, such as ``guidance_loss=my_guidance``; see
            :class:`OptionalMethods`. To evaluate in several processes, all must be functions of a module.

    Raises:
        AdapterContractError: the contract has no optional method or capability of such a name, or `trunks` leads
            nowhere.
    """

    def __init__(
        self,
        teacher: _NetworkT,
        *,
        trunks: str | Mapping[str, str | Trunk],
        predict: Callable[[_NetworkT, Batch], _Found],
        task_loss: Callable[[Prediction, Batch], Mapping[str, Tensor] | Tensor],
        spec: TrackerSpec,
        name: str = "module",
        capabilities: Iterable[str] = ("session",),
        **methods: Unpack[OptionalMethods],
    ) -> None:
        super().__init__(teacher)
        self.name = name  # type: ignore[misc]  # a class variable where each adapter has a class of its own
        self.spec = spec
        self.capabilities = _checked(capabilities)
        self._trunks = _by_name(trunks)
        # A student and a mix are of the teacher's class.
        self._predict: Callable[..., _Found] = predict
        self._task_loss = task_loss
        for method, function in methods.items():
            if method not in OptionalMethods.__annotations__:
                known = sorted(OptionalMethods.__annotations__)
                raise AdapterContractError(
                    f"ModuleAdapter got {method!r}. {did_you_mean(method, known)}Optional methods: {', '.join(known)}."
                )
            setattr(self, method, function)
        for trunk in self._trunks.values():
            trunk.blocks(teacher)

    def trunks(self) -> dict[str, Trunk]:
        """Return the block lists."""
        return dict(self._trunks)

    def predict(self, tracker: nn.Module, batch: Batch) -> Prediction:
        """Run the network on `batch` by the function that was given.

        Raises:
            AdapterContractError: the function returned none of what it may return.
        """
        found = self._predict(tracker, batch)
        if isinstance(found, Prediction):
            return found
        if "session" in self.capabilities:
            if not isinstance(found, Tensor):
                raise AdapterContractError(
                    f"predict of adapter {self.name!r} returned a {type(found).__name__}; expected boxes (B, 4) or a "
                    "ctsdk.Prediction. For a network that gives no boxes, pass capabilities=()."
                )
            return Prediction(found)
        outputs = {"output": found} if isinstance(found, Tensor) else found
        if not isinstance(outputs, Mapping):
            raise AdapterContractError(
                f"predict of adapter {self.name!r} returned a {type(found).__name__}; expected a tensor, tensors by "
                "name, or a ctsdk.Prediction."
            )
        return Prediction(batch.search_boxes.new_zeros(batch.size, 4), outputs)

    def task_loss(self, prediction: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of the function that was given; one scalar is named ``loss``."""
        losses = self._task_loss(prediction, batch)
        return dict(losses) if isinstance(losses, Mapping) else {"loss": losses}

    def guidance_loss(self, student: Prediction, teacher: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Return what the contract's default is for a tracker; else the mean squared error of each output."""
        if "session" in self.capabilities:
            return super().guidance_loss(student, teacher, batch)
        return {name: F.mse_loss(output, teacher.outputs[name]) for name, output in student.outputs.items()}


def _checked(capabilities: Iterable[str]) -> frozenset[str]:
    # "session" alone is seven letters, and one misspelt names nothing: either would be a network that is no tracker.
    if isinstance(capabilities, str) or not (named := frozenset(capabilities)) <= _CAPABILITIES:
        raise AdapterContractError(
            f"ModuleAdapter got capabilities={capabilities!r}; expected a tuple or set of some of "
            f"{', '.join(map(repr, sorted(_CAPABILITIES)))}, or () for a network that is no tracker."
        )
    return named


def _by_name(trunks: str | Mapping[str, str | Trunk]) -> dict[str, Trunk]:
    if not isinstance(trunks, str | Mapping):
        raise AdapterContractError(
            f"ModuleAdapter got trunks={trunks!r:.80}; expected the path of one list of blocks, such as "
            "'backbone.blocks', or paths by name, such as {'encoder': 'encoder.layers'}."
        )
    named = {trunks.rpartition(".")[2]: trunks} if isinstance(trunks, str) else trunks
    return {name: place if isinstance(place, Trunk) else Trunk(place) for name, place in named.items()}
