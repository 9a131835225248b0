"""The optimizer loop that the trained heads share.

A head hands in a function that draws a batch and returns its loss. Each step's random
numbers come from the seed and the step alone, so a run that was killed goes on from its
checkpoint with the same loss curve as one that was not. What is drawn, and what the loss
is, stays with the head.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from personalrm.embedding.with_torch import torch
from personalrm.errors import BadInput, CorruptFile, TrainingFailed
from personalrm.preferences.messages import digest
from personalrm.rewards.watching import tell, tell_resumed
from personalrm.typed_values import saved_object, saved_value

MOST_SKIPPED = 20
"""Steps in a row whose loss or gradient may not be a number before training is given up."""
ANEW = "remove it to start anew"
STEP_STRIDE = 1_000_003
"""From the seed of one run to the next, so that no two steps of near seeds draw alike."""


@dataclass(frozen=True)
class Optimization:
    """How parameters are moved."""

    n_steps: int = 1000
    learning_rate: float = 3e-4
    optimizer: Literal["adam", "adamw"] = "adam"
    weight_decay: float = 0.0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Cosine and linear end at 0, at the last optimizer step."""
    warmup: float = 0.0
    """Share of the steps over which the rate rises from 0."""
    clip: float = 1.0
    """Largest norm of the gradient; 0 leaves it alone."""
    check_every: int = 100
    """Steps between two looks at the dev users, where there are any."""
    patience: int = 10
    """Looks without improvement before training stops; 0 never stops early."""
    checkpoint_every: int = 500
    """Steps between two checkpoints, where a file for them is named."""

    def __post_init__(self) -> None:
        for name in ("n_steps", "check_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, got {getattr(self, name)!r}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise BadInput(f"learning_rate must be a positive number, got {self.learning_rate!r}")

    def share(self, step: int) -> float:
        """Learning rate at a step as a share of the highest."""
        n_warm = self.warmup * self.n_steps
        if step < n_warm:
            return (step + 1) / n_warm
        done = (step - n_warm) / max(1.0, self.n_steps - n_warm)
        return {"cosine": 0.5 * (1.0 + math.cos(math.pi * done)), "linear": 1.0 - done, "constant": 1.0}[self.schedule]


@dataclass(frozen=True)
class Group:
    """Parameters with a learning rate of their own."""

    parameters: Sequence[torch.nn.Parameter]
    learning_rate: float
    weight_decay: float = 0.0


@dataclass
class Curve:
    """What happened while training."""

    losses: list[float] = field(default_factory=list)
    """Of each step; NaN where the step was skipped."""
    dev: list[tuple[int, float]] = field(default_factory=list)
    """Step and dev loss of each look."""
    best_step: int = 0
    """The step whose parameters were kept; the last one where there are no dev users."""
    n_skipped: int = 0
    """Steps left out because loss or gradient were not numbers."""
    told: list[dict[str, float]] = field(default_factory=list)
    """What else each look found."""


@dataclass(frozen=True)
class Look:
    """What a look at the dev users found, where it is more than a loss."""

    loss: float
    told: Mapping[str, float]
    """Kept beside the loss, in the curve and in the checkpoint."""


@dataclass(frozen=True)
class Checkpoints:
    """Where a run is kept while it goes on."""

    file: Path
    """One file, replaced whole."""
    fingerprint: str
    """What the run is of: data and settings. A file with another one is refused."""
    is_writer: bool = True
    """Of several processes that train together, one writes; all read."""


Loss = Callable[[int, torch.Generator], torch.Tensor]
Dev = Callable[[], float | Look]
Accumulate = Callable[[int], float]
"""Adds the gradient of a step's batch to the parameters, part by part, and returns the loss."""


def train(
    module: torch.nn.Module,
    loss: Loss,
    options: Optimization,
    *,
    seed: int = 0,
    groups: Sequence[Group] | None = None,
    dev: Dev | None = None,
    checkpoints: Checkpoints | None = None,
) -> Curve:
    """Train the module in place, going on where a checkpoint stands; returns what happened.

    With dev users the parameters of the best look are put back at the end, and looks
    without improvement end the training early.

    Args:
        module: What holds the parameters.
        loss: Loss of a batch it draws itself with the generator, given the number of the step.
        options: Steps, rates, clipping, looks.
        seed: Of everything that is drawn.
        groups: Parameters with rates of their own; all with the one of `options` where None.
        dev: Loss on the dev users, lower is better.
        checkpoints: Where to keep the run.

    Raises:
        TrainingFailed: If loss or gradient were not numbers 20 steps in a row.
        BadInput: If the checkpoint is of another run.
        CorruptFile: If the checkpoint cannot be read.
    """
    device = next(module.parameters()).device

    def accumulate(step: int) -> float:
        generator = torch.Generator(device).manual_seed(seed * STEP_STRIDE + step)
        value = loss(step, generator)
        if torch.isfinite(value):
            value.backward()
        return float(value.detach())

    return train_in_parts(module, accumulate, options, groups=groups, dev=dev, checkpoints=checkpoints)


def train_head(
    head: Any,
    module: torch.nn.Module,
    loss: Loss,
    hashes: Sequence[str],
    *,
    dev: Dev | None = None,
    groups: Sequence[Group] | None = None,
) -> Curve:
    """`train` for a reward model that reads embeddings, kept in its checkpoint where it has one.

    Args:
        head: The model, with its options, store and checkpoint.
        module: What holds the parameters.
        loss: Loss of a batch.
        hashes: Of the pairs; they, the options and the encoder tell a checkpoint from that of another run.
        dev: Loss on the dev users.
        groups: Parameters with rates of their own.
    """
    options, kept = head.options, None
    if head.checkpoint is not None:
        kept = Checkpoints(head.checkpoint, digest(asdict(options), head.store.encoder.identity, hashes))
    return train(module, loss, options.optimization, seed=options.seed, groups=groups, dev=dev, checkpoints=kept)


def train_in_parts(
    module: torch.nn.Module,
    accumulate: Accumulate,
    options: Optimization,
    *,
    groups: Sequence[Group] | None = None,
    dev: Dev | None = None,
    checkpoints: Checkpoints | None = None,
) -> Curve:
    """`train` for batches that are too large for one graph: the caller runs the backward passes itself."""
    run = _Run(module, options, groups)
    is_teller = checkpoints is None or checkpoints.is_writer
    if checkpoints is not None and checkpoints.file.exists():
        run.restore(checkpoints)
        if is_teller:
            tell_resumed(run.step, options.n_steps)
    skipped_in_a_row = 0
    while run.step < options.n_steps and not run.is_over(dev is not None):
        module.train()
        skipped_in_a_row = 0 if run.advance(accumulate) else skipped_in_a_row + 1
        if skipped_in_a_row >= MOST_SKIPPED:
            raise TrainingFailed(
                f"loss or gradient were not numbers {MOST_SKIPPED} steps in a row, up to step {run.step}; lower the "
                f"learning rate {options.learning_rate!r} or check the embeddings"
            )
        is_last = run.step == options.n_steps
        if dev is not None and (run.step % options.check_every == 0 or is_last):
            module.eval()
            run.look(dev())
        if is_teller:
            dev_loss = run.curve.dev[-1][1] if run.curve.dev else None
            tell(run.step, options.n_steps, loss=run.curve.losses[-1], dev_loss=dev_loss)
        is_due = run.step % options.checkpoint_every == 0 or is_last
        if checkpoints is not None and checkpoints.is_writer and is_due:
            run.keep(checkpoints)
    run.finish()
    module.eval()
    return run.curve


class _Run:
    """The moving parts of one training: parameters, optimizer, curve, best parameters."""

    def __init__(self, module: torch.nn.Module, options: Optimization, groups: Sequence[Group] | None) -> None:
        self.module, self.options, self.curve = module, options, Curve()
        self.step = 0
        self.best: dict[str, torch.Tensor] = {}
        parts = groups or [Group(list(module.parameters()), options.learning_rate, options.weight_decay)]
        kind = torch.optim.Adam if options.optimizer == "adam" else torch.optim.AdamW
        self._rates = [part.learning_rate for part in parts]
        self._parameters = [parameter for part in parts for parameter in part.parameters]
        self._optimizer = kind(
            [{"params": list(part.parameters), "weight_decay": part.weight_decay} for part in parts],
            lr=options.learning_rate,
            # One pass over all parameters; the loop over them took a fifth of a step of GPO.
            fused=all(parameter.device.type in ("cpu", "cuda") for parameter in self._parameters),
        )

    def advance(self, accumulate: Accumulate) -> bool:
        """One step; False if it was left out because something was not a number."""
        for part, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            part["lr"] = rate * self.options.share(self.step)
        self._optimizer.zero_grad(set_to_none=True)
        value = accumulate(self.step)
        self.step += 1
        fine = math.isfinite(value)
        if fine:
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self.options.clip or math.inf)
            fine = bool(torch.isfinite(norm))
        if fine:
            self._optimizer.step()
        self.curve.losses.append(value if fine else math.nan)
        self.curve.n_skipped += not fine
        return fine

    def look(self, found: float | Look) -> None:
        """Note a dev loss, and the parameters if it is the best so far."""
        value = found.loss if isinstance(found, Look) else found
        self.curve.told.append(dict(found.told) if isinstance(found, Look) else {})
        best = min((old for _, old in self.curve.dev if math.isfinite(old)), default=math.inf)
        self.curve.dev.append((self.step, value))
        if value < best:
            self.curve.best_step = self.step
            self.best = {name: tensor.detach().clone() for name, tensor in self.module.state_dict().items()}

    def is_over(self, has_dev: bool) -> bool:
        """Whether the dev users have seen no improvement for too long."""
        if not (has_dev and self.options.patience and self.curve.dev):
            return False
        return sum(step > self.curve.best_step for step, _ in self.curve.dev) >= self.options.patience

    def finish(self) -> None:
        """Put the best parameters back."""
        if self.best:
            self.module.load_state_dict(self.best)
        else:
            self.curve.best_step = self.step

    def keep(self, checkpoints: Checkpoints) -> None:
        """Write everything to one file, whole or not at all."""
        from safetensors.torch import save_file

        tensors = {f"now.{name}": tensor for name, tensor in self.module.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        for place, values in self._optimizer.state_dict()["state"].items():
            tensors |= {f"moment.{place}.{name}": torch.as_tensor(value) for name, value in values.items()}
        metadata = {"fingerprint": checkpoints.fingerprint, "options": _written(self.options), "step": str(self.step)}
        metadata["curve"] = json.dumps(asdict(self.curve))
        checkpoints.file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = checkpoints.file.with_name(checkpoints.file.name + ".tmp")
        save_file(
            {name: tensor.contiguous().clone() for name, tensor in tensors.items()}, unfinished, metadata=metadata
        )
        os.replace(unfinished, checkpoints.file)

    def restore(self, checkpoints: Checkpoints) -> None:
        """Go back to where the file left off."""
        metadata, tensors = read_tensors(checkpoints.file)
        if (metadata.get("fingerprint"), metadata.get("options")) != (checkpoints.fingerprint, _written(self.options)):
            raise BadInput(
                f"checkpoint {str(checkpoints.file)!r} is of a run with other data or settings; remove it, or name "
                "another folder"
            )
        where = f"checkpoint {str(checkpoints.file)!r}"
        try:
            curve = saved_object(metadata["curve"], f"the curve of {where}", again=ANEW)
            self.step, self.curve = int(metadata["step"]), saved_value(Curve, curve, where, again=ANEW)
            self.module.load_state_dict(under("now.", tensors))
            self.best = under("best.", tensors)
            state = self._optimizer.state_dict()
            for name, tensor in under("moment.", tensors).items():
                place, _, what = name.partition(".")
                state["state"].setdefault(int(place), {})[what] = tensor
            self._optimizer.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:  # a part is gone, or of another shape
            raise CorruptFile(f"{where} is not whole ({type(error).__name__}); {ANEW}") from None


def _written(options: Optimization) -> str:
    return json.dumps(asdict(options), sort_keys=True)


def under(prefix: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors whose names begin so, without that beginning."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def read_tensors(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a checkpoint.

    Raises:
        CorruptFile: If it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        opened: Any = safe_open(file, framework="pt")
        with opened as content:
            return dict(content.metadata()), {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise CorruptFile(f"checkpoint {str(file)!r} cannot be read ({type(error).__name__}); {ANEW}") from None
